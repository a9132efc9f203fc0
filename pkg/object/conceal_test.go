package object

import (
	"encoding/base64"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func parsed(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	if text == "" {
		return nil
	}
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// What is not to be shown is taken out of both states, and that it differs stays
// visible.
func TestConceal(t *testing.T) {
	const sealed = "ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]"
	const other = "ENC[AES256_GCM,data:Yg==,iv:YQ==,tag:YQ==,type:str]"
	file := base64.StdEncoding.EncodeToString([]byte("a: " + sealed + "\nsops:\n  mac: x\n"))
	head := "apiVersion: v1\nkind: Thing\n"
	marked := head + "metadata: {annotations: {kubectl-gitops.dev/sensitive: '%'}}\n"
	for name, c := range map[string]struct {
		before, after string
		secrets       []string
		want          [2]string
	}{
		"a Secret, as kubectl diff has it": {
			before: "kind: Secret\nmetadata: {annotations: {kubectl.kubernetes.io/last-applied-configuration: x}}\ndata: {a: b, c: d, gone: e}\n",
			after:  "kind: Secret\ndata: {a: b, c: x, new: e}\n",
			want:   [2]string{"kind: Secret\nmetadata: {}\ndata: {a: '***', c: '*** (before)', gone: '***'}", "kind: Secret\ndata: {a: '***', c: '*** (after)', new: '***'}"},
		},
		"paths of both notations": {
			before: strings.Replace(marked, "%", "spec.users[*].password,\\n /spec/a~1b spec.deep", 1),
			after:  strings.Replace(marked, "%", "spec.users[*].password,\n /spec/a~1b spec.deep", 1) + "spec: {users: [{name: ada, password: 12}], a/b: x, deep: {x: [1, y]}, plain: z}\n",
			want:   [2]string{"", "spec: {users: [{name: ada, password: '***'}], a/b: '***', deep: {x: ['***', '***']}, plain: z}"},
		},
		"marked on one side alone": {
			before: head + "spec: {token: one}\n", after: strings.Replace(marked, "%", "spec.token", 1) + "spec: {token: two}\n",
			want: [2]string{"spec: {token: '*** (before)'}", "spec: {token: '*** (after)'}"},
		},
		"a secret inside of other texts, and what was in its place": {
			before: head + "spec: {env: [{name: A, value: 'pg://u:0ld@db'}, {name: B, value: b}]}\n", secrets: []string{"hunter2"},
			after: head + "spec: {env: [{name: B, value: b}, {name: A, value: 'pg://u:hunter2@db'}], hunter2: y}\n",
			want:  [2]string{"spec: {env: [{name: A, value: '*** (before)'}, {name: B, value: b}]}", "spec: {env: [{name: B, value: b}, {name: A, value: '*** (after)'}], hunter2: y}"},
		},
		"a secret on both sides": {
			before: head + "spec: {a: 'x hunter2', b: hunter2, c: 5432}\n", after: head + "spec: {a: 'y hunter2', b: hunter2, c: 5432}\n", secrets: []string{"hunter2", "5432"},
			want: [2]string{"spec: {a: 'x ***', b: '***', c: '***'}", "spec: {a: 'y ***', b: '***', c: '***'}"},
		},
		"two secrets": {
			before: head + "spec: {a: swordfish}\n", after: head + "spec: {a: hunter2}\n", secrets: []string{"hunter2", "swordfish"},
			want: [2]string{"spec: {a: '*** (before)'}", "spec: {a: '*** (after)'}"},
		},
		"short ones are no part of others": {
			after: head + "spec: {a: pass, b: passport}\n", secrets: []string{"pass"},
			want: [2]string{"", "spec: {a: '***', b: passport}"},
		},
		"sealed": {
			before: head + "spec: {a: '" + sealed + "', b: '" + sealed + "', c: '" + file + "', d: x}\nsops: {mac: x}\n",
			after:  head + "spec: {a: '" + sealed + "', b: '" + other + "', c: '" + file + "', d: '" + sealed + "'}\nsops: {mac: y}\n",
			want:   [2]string{"spec: {a: sealed, b: sealed, c: sealed, d: '***'}", "spec: {a: sealed, b: 'sealed, changed', c: sealed, d: 'sealed, changed'}"},
		},
		"a secret that holds another": {
			after: head + "spec: {a: 'pw=hunter2-of-admin;'}\n", secrets: []string{"hunter2", "hunter2-of-admin"},
			want: [2]string{"", "spec: {a: 'pw=***;'}"},
		},
		"of six letters, inside of another text": {
			after: head + "spec: {a: 'pg://u:secret@db'}\n", secrets: []string{"secret"},
			want: [2]string{"", "spec: {a: 'pg://u:***@db'}"},
		},
		"in an annotation, but for a name": {
			after:   "kind: Thing\nmetadata: {name: hunter2, annotations: {url: 'pg://u:hunter2@db'}}\n",
			secrets: []string{"hunter2"},
			want:    [2]string{"", "kind: Thing\nmetadata: {name: hunter2, annotations: {url: 'pg://u:***@db'}}"},
		},
		"of a kind that is sealed": {
			before: "kind: '" + sealed + "'\ndata: {a: b}\nsops: {mac: x}\n", after: "kind: '" + sealed + "'\nstringData: {a: b}\nsops: {mac: y}\n",
			want: [2]string{"kind: '" + sealed + "'\ndata: {a: '***'}", "kind: '" + sealed + "'\nstringData: {a: '***'}"},
		},
		"lists of which one has more": {
			before: strings.Replace(marked, "%", "spec.users.*.password", 1) + "spec: {users: [{name: gone, password: a}, {name: ada, password: b}], args: [x, hunter2]}\n",
			after:  strings.Replace(marked, "%", "spec.users.*.password", 1) + "spec: {users: [{name: ada, password: c}, {name: new, password: d}], args: [x]}\n", secrets: []string{"hunter2"},
			want: [2]string{"spec: {users: [{name: gone, password: '***'}, {name: ada, password: '*** (before)'}], args: [x, '***']}",
				"spec: {users: [{name: ada, password: '*** (after)'}, {name: new, password: '***'}], args: [x]}"},
		},
		"null before": {
			before: head + "spec: {a: null}\n", after: head + "spec: {a: hunter2}\n", secrets: []string{"hunter2"},
			want: [2]string{"spec: {a: '*** (before)'}", "spec: {a: '*** (after)'}"},
		},
		"of another type": {
			before: head + "spec: {a: {b: hunter2}}\n", after: head + "spec: {a: [hunter2]}\n", secrets: []string{"hunter2"},
			want: [2]string{"spec: {a: {b: '***'}}", "spec: {a: ['***']}"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want[0] == "" {
				c.before = ""
			}
			before, after := parsed(t, c.before), parsed(t, c.after)
			Conceal(before, after, c.secrets, nil)
			for i, u := range []*unstructured.Unstructured{before, after} {
				want := parsed(t, c.want[i])
				if want == nil {
					continue
				}
				if !strings.HasPrefix(c.want[i], "kind") {
					u = &unstructured.Unstructured{Object: map[string]any{"spec": u.Object["spec"]}}
				}
				got, _ := yaml.Marshal(u.Object)
				text, _ := yaml.Marshal(want.Object)
				if string(got) != string(text) {
					t.Errorf("side %d:\n%s\nwant:\n%s", i, got, text)
				}
			}
		})
	}
}

// A schema tells which fields are passwords, below lists and maps of any keys too.
func TestPasswordPaths(t *testing.T) {
	schema := parsed(t, `
kind: Schema
properties:
  spec:
    properties:
      password: {type: string, format: password}
      at: {type: string, format: date-time}
      format: {type: string}
      users: {items: {properties: {name: {type: string}, token: {format: password}}}}
      keys: {additionalProperties: {format: password}}
      list: {items: {format: password}}
      open: {additionalProperties: true}
`).Object
	want := [][]string{{"spec", "keys", "*"}, {"spec", "list", "*"}, {"spec", "password"}, {"spec", "users", "*", "token"}}
	if got := PasswordPaths(schema); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	u := parsed(t, "kind: Thing\nspec: {password: one, users: [{name: ada, token: two}], keys: {a: three}, list: [four], at: five}\n")
	Conceal(nil, u, nil, want)
	if got, _ := yaml.Marshal(u.Object["spec"]); string(got) != "at: five\nkeys:\n  a: '***'\nlist:\n- '***'\npassword: '***'\nusers:\n- name: ada\n  token: '***'\n" {
		t.Errorf("%s", got)
	}
	if got := Redact(parsed(t, "kind: Thing\nspec: {password: one}\n"), `spec.password: Invalid value: "one"`, want...); got != `spec.password: Invalid value: "***"` {
		t.Error(got)
	}
}

// Without a key what is sealed stays as committed: what `build` prints can be
// committed again, sops and all. What is not sealed is hidden all the same.
func TestConcealOneKeepsWhatIsSealed(t *testing.T) {
	const text = "kind: Secret\nsops:\n  mac: x\nstringData:\n  a: ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]\n  b: '***'\n"
	u := parsed(t, strings.Replace(text, "***", "hunter2", 1))
	ConcealOne(u, nil, nil)
	if got, _ := yaml.Marshal(u.Object); string(got) != text {
		t.Errorf("%s", got)
	}
}

// Longest first: the rest of a value that begins as another does is as secret.
func TestRedactTakesTheLongestFirst(t *testing.T) {
	u := parsed(t, "kind: Secret\nstringData: {a: hunter2, b: hunter2-of-admin, c: hunter2-of-admin-too, pin: '', n: 123456, ok: true}\n")
	for range 20 { // maps have no order
		got := Redact(u, "bad: hunter2-of-admin, hunter2-of-admin-too, hunter2, 123456: it is true")
		if got != "bad: ***, ***, ***, ***: it is true" {
			t.Fatal(got)
		}
	}
}
