package image

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

var chosen = map[Ref]Image{
	{Namespace: "flux-system", Name: "api"}:    {Name: "ghcr.io/team/api", Tag: "1.3.0"},
	{Namespace: "flux-system", Name: "pinned"}: {Name: "ghcr.io/team/pinned", Tag: "2.0.0", Digest: "sha256:" + strings.Repeat("ab", 32)},
	{Namespace: "flux-system", Name: "float"}:  {Name: "ghcr.io/team/float", Tag: "1.10"},
	{Namespace: "flux-system", Name: "word"}:   {Name: "ghcr.io/team/word", Tag: "on"},
}

// Each case says what the file becomes; what is not said stays as it is.
func TestEdit(t *testing.T) {
	digest := chosen[Ref{Namespace: "flux-system", Name: "pinned"}].Digest
	for _, test := range []struct{ name, file, old, new string }{
		{"a whole reference", "image: ghcr.io/team/api:1.2.0 # {\"$imagepolicy\": \"flux-system:api\"}\n", "api:1.2.0", "api:1.3.0"},
		{"another name too", "image: team/api:1.2.0 # {\"$imagepolicy\": \"flux-system:api\"}\n", "team/api:1.2.0", "ghcr.io/team/api:1.3.0"},
		{"a digest", "image: ghcr.io/team/pinned:1 # {\"$imagepolicy\": \"flux-system:pinned\"}\n", "pinned:1", "pinned:2.0.0@" + digest},
		{"kustomization images", "images:\n- name: api\n  newName: x/api # {\"$imagepolicy\": \"flux-system:api:name\"}\n  newTag: 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n",
			"x/api # {\"$imagepolicy\": \"flux-system:api:name\"}\n  newTag: 1.2.0", "ghcr.io/team/api # {\"$imagepolicy\": \"flux-system:api:name\"}\n  newTag: 1.3.0"},
		{"the digest of kustomization images", "images:\n- name: p\n  digest: sha256:0 # {\"$imagepolicy\": \"flux-system:pinned:digest\"}\n", "sha256:0", digest},
		{"Helm values", "spec:\n  values:\n    image:\n      repository: ghcr.io/team/api # {\"$imagepolicy\": \"flux-system:api:name\"}\n      tag: 1.2.0  # {\"$imagepolicy\": \"flux-system:api:tag\"}\n", "tag: 1.2.0 ", "tag: 1.3.0 "},
		{"double quotes", "tag: \"1.2.0\"   # {\"$imagepolicy\": \"flux-system:api:tag\"}\n", "1.2.0", "1.3.0"},
		{"single quotes", "tag: '1.2.0' # {\"$imagepolicy\": \"flux-system:api:tag\"}\n", "1.2.0", "1.3.0"},
		{"quotes around nothing", "tag: '' # {\"$imagepolicy\": \"flux-system:api:tag\"}\n", "''", "'1.3.0'"},
		{"escapes", `tag: "1.\u0032.0" # {"$imagepolicy": "flux-system:api:tag"}` + "\n", `1.\u0032.0`, "1.3.0"},
		{"quotes in quotes", `a: {tag: "1\"2", b: 'it''s'} # x` + "\n" + `tag: "1\"2" # {"$imagepolicy": "flux-system:api:tag"}` + "\n", `tag: "1\"2" #`, `tag: "1.3.0" #`},
		{"quotes in single quotes", `tag: 'it''s' # {"$imagepolicy": "flux-system:api:tag"}` + "\n", `it''s`, `1.3.0`},
		{"line ends of any kind", "a: x\rb: y\u0085c: z\u2028d: x\u2029tag: 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n", "1.2.0", "1.3.0"},
		{"a tag of its own kind", "tag: !version 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n", "1.2.0", "1.3.0"},
		{"a tag that looks like a number", "tag: 1.9 # {\"$imagepolicy\": \"flux-system:float:tag\"}\n", "1.9", `"1.10"`},
		{"the same in quotes", "tag: \"1.9\" # {\"$imagepolicy\": \"flux-system:float:tag\"}\n", "1.9", "1.10"},
		{"a tag that looks like a truth value", "tag: off # {\"$imagepolicy\": \"flux-system:word:tag\"}\n", "off", `"on"`},
		{"a number becomes a version", "tag: 12 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n", "12", "1.3.0"},
		{"a comment above", "images:\n- name: api\n  # {\"$imagepolicy\": \"flux-system:api:tag\"}\n  newTag: 1.2.0\n", "1.2.0", "1.3.0"},
		{"an item of a list", "args:\n- ghcr.io/team/api:1.2.0 # {\"$imagepolicy\": \"flux-system:api\"}\n", "1.2.0", "1.3.0"},
		{"flow style", "{a: {tag: 1.2.0}, b: {x: y, tag: 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n}}\n", "y, tag: 1.2.0", "y, tag: 1.3.0"},
		{"an anchor and a tag", "tag: &v !!str 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\nother: *v\n", "1.2.0", "1.3.0"},
		{"CRLF, tabs, blank lines, trailing blanks", "a: 1\t# x\r\n\r\n\r\ntag: 1.2.0\t# {\"$imagepolicy\": \"flux-system:api:tag\"}  \r\n\r\nb:   2  \r\n", "1.2.0", "1.3.0"},
		{"a byte order mark", "\xef\xbb\xbftag: 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n", "1.2.0", "1.3.0"},
		{"letters of several bytes", "größe: {é: ✔, tag: 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n}\n", "1.2.0", "1.3.0"},
		{"no line end at the end", "tag: 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}", "1.2.0", "1.3.0"},
		{"documents, folds, comments between", "%YAML 1.1\n---\n# head\na: >-\n  folded\n  text\n---\n\n# about\ntag: 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n# foot\n...\n---\nb: |+\n  kept\n\n\n---\n", "1.2.0", "1.3.0"},
		{"a long line", "a: " + strings.Repeat("word ", 60) + "\ntag: 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n", "1.2.0", "1.3.0"},
		{"a document beside it that is sealed", "a: ENC[x]\nsops: {mac: 'ENC[y]'}\n---\ntag: 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n", "1.2.0", "1.3.0"},
		{"it has its value already", "tag: 1.3.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := test.file
			if test.old != "" {
				if strings.Count(test.file, test.old) != 1 {
					t.Fatalf("%q is not once in %q", test.old, test.file)
				}
				want = strings.Replace(test.file, test.old, test.new, 1)
			}
			got, edits, problems := Edit("f.yaml", []byte(test.file), chosen)
			if string(got) != want || len(problems) > 0 || (len(edits) > 0) != (test.old != "") {
				t.Fatalf("got  %q\nwant %q\nedits %v problems %v", got, want, edits, problems)
			}
			again, edits, problems := Edit("f.yaml", got, chosen)
			if !bytes.Equal(again, got) || len(edits)+len(problems) > 0 {
				t.Errorf("a second time: %q %v %v", again, edits, problems)
			}
		})
	}
}

func TestEditSaysWhere(t *testing.T) {
	_, edits, _ := Edit("apps/f.yaml", []byte("kind: K\nb:\n- c: {ä: x, tag: 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n}\n"), chosen)
	want := Edited{File: "apps/f.yaml", Line: 3, Column: 18, Policy: Ref{"flux-system", "api"}, Old: "1.2.0", New: "1.3.0", Part: "tag"}
	want.Object.Kind = "K"
	if len(edits) != 1 || edits[0] != want {
		t.Errorf("got %+v, want %+v", edits, want)
	}
}

func TestEditRefuses(t *testing.T) {
	const api = `# {"$imagepolicy": "flux-system:api`
	for _, test := range []struct{ name, file, code, line, want string }{
		{"a bare tag over a whole reference", "image: ghcr.io/team/api:1.2.0 " + api + ":tag\"}\n", "image-marker-nonsense", "1",
			"would write the bare tag 1.3.0 over the whole reference ghcr.io/team/api:1.2.0"},
		{"the same in a field of any name", "x: 1\nversion: team/api:1.2.0 " + api + ":tag\"}\n", "image-marker-nonsense", "2", "over the whole reference"},
		{"a bare tag where one has been written already", "image: sha-42ea07d " + api + ":tag\"}\n", "image-marker-nonsense", "1",
			"image is the bare tag sha-42ea07d, not a reference"},
		{"a whole reference into newTag", "newTag: 1.2.0 " + api + "\"}\n", "image-marker-nonsense", "1", "would write the whole reference ghcr.io/team/api:1.3.0 into newTag"},
		{"a bare digest over a whole reference", "image: ghcr.io/team/pinned:1 # {\"$imagepolicy\": \"flux-system:pinned:digest\"}\n", "image-marker-nonsense", "1",
			"over the whole reference ghcr.io/team/pinned:1"},
		{"a bare tag where nothing is", "image: '' " + api + ":tag\"}\n", "image-marker-nonsense", "1", "would write the bare tag 1.3.0 into image"},
		{"a digest into newTag", "newTag: 1 # {\"$imagepolicy\": \"flux-system:pinned:digest\"}\n", "image-marker-nonsense", "1", "would write the digest sha256:"},
		{"a whole reference into newName", "newName: x " + api + "\"}\n", "image-marker-nonsense", "1", "into newName, which holds a name"},
		{"a tag into repository", "repository: x " + api + ":tag\"}\n", "image-marker-nonsense", "1", "would write the bare tag 1.3.0 into repository"},
		{"a name into tag", "tag: x " + api + ":name\"}\n", "image-marker-nonsense", "1", "would write the name"},
		{"a tag into digest", "digest: sha256:0 " + api + ":tag\"}\n", "image-marker-nonsense", "1", "into digest"},
		{"a digest that there is none of", "digest: sha256:0 " + api + ":digest\"}\n", "image-marker-part", "1", "the policy reflects no digest"},
		{"a part that there is none of", "tag: 1 " + api + ":version\"}\n", "image-marker-part", "1", "only :tag, :name and :digest"},
		{"an unknown policy", "tag: 1 # {\"$imagepolicy\": \"apps:api:tag\"}\n", "image-marker-unresolved", "1", "imagepolicy/api in apps: nothing is chosen"},
		{"a text block", "tag: |\n  1.2.0\n# x\na: b\nother: >- " + api + ":tag\"}\n  1.2.0\n", "image-marker-scalar", "5", "is a text block"},
		{"a value of several lines", "a: \"1.2\n  .0\" " + api + "\"}\n", "image-marker-scalar", "1", "goes over several lines"},
		{"no value", "tag: " + api + ":tag\"}\n", "image-marker-unread", "1", "belongs to no value"},
		{"an alias", "a: &v 1.2.0\ntag: *v " + api + ":tag\"}\n", "image-marker-unread", "2", "belongs to no value"},
		{"a mapping", "a: " + api + ":tag\"}\n  b: {}\n", "image-marker-unread", "1", "belongs to no value"},
		{"not alone in its comment", "# why\n" + api + ":tag\"}\ntag: 1.2.0\n", "image-marker-unread", "2", "belongs to no value"},
		{"not JSON", "tag: 1.2.0 # {\"$imagepolicy\": flux-system:api:tag}\n", "image-marker-unread", "1", "looks like a marker"},
		{"in a text", "data:\n  app.yaml: |\n    tag: 1.2.0 " + api + ":tag\"}\n", "image-marker-unread", "3", "looks like a marker"},
		{"a value that is said to be a number", "tag: !!int 5 " + api + ":tag\"}\n", "image-marker-scalar", "1", "its value is tagged !!int"},
		{"one that is said to be bytes", "tag: !!binary \"MS4y\" " + api + ":tag\"}\n", "image-marker-scalar", "1", "its value is tagged !!binary"},
		{"a sealed file", "tag: 1.2.0 " + api + ":tag\"}\nsops:\n  mac: ENC[x]\n", "image-marker-sealed", "1", "would break its MAC"},
		{"a sealed value", "tag: ENC[AES256_GCM,data:x] " + api + ":tag\"}\n", "image-marker-sealed", "1", "its value is sealed"},
		{"a template", "tag: 1.2.0 " + api + ":tag\"}\n{{- if x }}\na: {{ b }}\n", "image-marker-file", "2", "not valid YAML"},
		{"not UTF-8", "tag: 1.2.0 " + api + ":tag\"}\n# \xff\n", "image-marker-file", "", "not valid YAML"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, edits, problems := Edit("f.yaml", []byte(test.file), chosen)
			if string(got) != test.file || len(edits) > 0 || len(problems) != 1 {
				t.Fatalf("%q edits %v problems %v", got, edits, problems)
			}
			p := problems[0]
			if p.Code != test.code || !strings.Contains(p.Error(), test.want) || test.line != "" && !strings.HasPrefix(p.Error(), "f.yaml:"+test.line+":") {
				t.Errorf("got %s: %s, want %s, line %s: %s", p.Code, p.Error(), test.code, test.line, test.want)
			}
		})
	}
}

// What is refused at one marker leaves the others written.
func TestEditGoesOn(t *testing.T) {
	const file = "image: ghcr.io/team/api:1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\ntag: 1.2.0 # {\"$imagepolicy\": \"flux-system:api:tag\"}\n"
	got, edits, problems := Edit("f.yaml", []byte(file), chosen)
	if want := strings.Replace(file, "tag: 1.2.0", "tag: 1.3.0", 1); string(got) != want || len(edits) != 1 || len(problems) != 1 {
		t.Errorf("%q %v %v", got, edits, problems)
	}
}

func FuzzEdit(f *testing.F) {
	const marker = ` # {"$imagepolicy": "flux-system:api:tag"}`
	for _, s := range []string{
		"tag: 1.2.0" + marker + "\n",
		"tag: \"1.\\u0032\"" + marker + "\r\nb: 'it''s'" + marker + "\r\n",
		"- &a !!str x" + marker + "\n- *a\n---\n{tag: [1, 2" + marker + "\n]}\n",
		"? tag\n: 1" + marker + "\n",
		"# {\"$imagepolicy\": \"flux-system:float:tag\"}\nx: 1\u2028y: 2" + marker,
		"\xef\xbb\xbfé: \u0085tag: 1" + marker,
		"a: 'b" + marker + "\n\n  c'" + marker + "\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, edits, _ := Edit("f.yaml", data, chosen)
		if len(edits) == 0 {
			if !bytes.Equal(got, data) {
				t.Fatalf("no edits, and another file:\n%q\n%q", data, got)
			}
			return
		}
		// Put back what was written, and the file is the one it was.
		before, after := bytes.SplitAfter(data, []byte("\n")), bytes.SplitAfter(got, []byte("\n"))
		if len(before) != len(after) {
			t.Fatalf("lines came or went:\n%q\n%q", data, got)
		}
		changed := 0
		for i := range before {
			if !bytes.Equal(before[i], after[i]) {
				changed++
			}
		}
		if changed > len(edits) {
			t.Fatalf("%d lines changed by %d edits:\n%q\n%q", changed, len(edits), data, got)
		}
		again, edits, _ := Edit("f.yaml", got, chosen)
		if len(edits) > 0 || !bytes.Equal(again, got) {
			t.Fatalf("not done the first time:\n%q\n%q\n%v", got, again, edits)
		}
	})
}

func BenchmarkEdit(b *testing.B) {
	var file strings.Builder
	for i := range 40 {
		fmt.Fprintf(&file, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d%d}\nspec:\n  template:\n    spec:\n      containers:\n"+
			"      - name: app\n        image: ghcr.io/team/api:1.2.%d # {\"$imagepolicy\": \"flux-system:api\"}\n", i, i)
	}
	data := []byte(file.String())
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, edits, _ := Edit("f.yaml", data, chosen); len(edits) != 40 {
			b.Fatal(edits)
		}
	}
}
