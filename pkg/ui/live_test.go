package ui

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func terminalPlayer(w, h int) (*screen, *player) {
	s := newScreen(w, h)
	p := newPlayer(Options{
		Out: s, Err: s, Progress: "tty", Color: "always",
		Width: func() int { return s.w }, height: func() int { return s.h },
	})
	return s, p
}

// More runs than there are rows: the rest is summed up, and what is permanent
// scrolls as ever.
func TestRegionIsNoHigherThanTheTerminal(t *testing.T) {
	for _, h := range []int{24, 8, 5, 4, 3, 2} {
		s, p := terminalPlayer(80, h)
		p.begin(firstLine)
		for i := range 30 {
			p.queue("", fmt.Sprintf("app-%02d", i))
		}
		p.queue("waiting for app-00", "web", "shop")
		p.queue("waiting for app-01", "blog")
		for i := range 30 {
			p.progress(fmt.Sprintf("app-%02d", i), "rendering")
		}
		golden(t, fmt.Sprintf("region_high_%d.txt", h), s.String())
		for i := range 30 {
			p.done(kustomization(fmt.Sprintf("app-%02d", i), "ready", 1, i))
		}
		p.ui.Close()
		lines := strings.Split(strings.TrimSpace(s.all()), "\n")
		if len(lines) != 32 || !strings.HasPrefix(lines[0], "cluster: ") || strings.Contains(s.all(), "►") {
			t.Errorf("height %d: want the first line in two and 30 lines, got\n%s", h, s.all())
		}
		if s.wrapped {
			t.Errorf("height %d: a line was wrapped", h)
		}
	}
}

// A plan tells of its progress too; what it has planned is queued then.
func TestPlannedIsQueued(t *testing.T) {
	s, p := terminalPlayer(80, 24)
	p.begin("cluster: k3s")
	p.progress("infra", "rendering ./infra")
	p.progress("apps", "rendering ./apps")
	p.wait(2 * time.Second)
	p.queue("", "infra")
	p.queue("waiting for infra", "apps")
	p.progress("infra", "writing namespace/app")
	const want = "cluster: k3s\n► infra  writing namespace/app\n  1 waiting for infra\n\n"
	if got := s.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRegionSurvivesResizing(t *testing.T) {
	for _, widths := range [][]int{{100, 60, 80}, {80, 30, 120}, {80, 25, 200}} {
		s, p := terminalPlayer(widths[0], 20)
		p.begin("cluster: k3s")
		p.queue("", "apps")
		p.queue("waiting for apps, certificates, databases", "web", "shop")
		p.progress("apps", "waiting for deployment.apps/api-gateway in app: 1 of 2 available; the image cannot be pulled")
		for _, w := range widths[1:] {
			s.resize(w)
			p.wait(3 * time.Second)
		}
		p.done(kustomization("apps", "ready", 6, 3))
		p.ui.Close()
		got := strings.Join(strings.Fields(s.String()), " ")
		if want := "cluster: k3s ✔ apps 3 unchanged 6.0s"; got != want {
			t.Errorf("widths %v: got\n%s", widths, s.String())
		}
	}
}

func TestWideCharactersStayOnTheirLine(t *testing.T) {
	for _, w := range []int{30, 41, 80} {
		s, p := terminalPlayer(w, 30)
		p.begin("cluster: 本番環境 (https://203.0.113.7:6443)  root: clusters/本番  revision: main@sha1:9d22ce7")
		p.queue("", "データベース", "apps")
		p.progress("データベース", "デプロイメントの準備ができるまで待っています: 二つのうち一つ 🚀🚀🚀")
		p.progress("apps", "e\u0301e\u0301 👩‍💻 \u26a0\ufe0f waiting for something that takes so long that it does not fit")
		k := kustomization("データベース", "failed", 3, 2)
		k.Message = "デプロイメントの準備ができませんでした。イメージが見つかりません。もう一度お試しください。🚀🚀🚀"
		p.wait(time.Second)
		golden(t, fmt.Sprintf("wide_%d.txt", w), s.String())
		p.done(k)
		p.ui.Close()
		if s.wrapped {
			t.Errorf("width %d: a line was wrapped:\n%s", w, s.all())
		}
	}
}

// Whatever Git or the server says, the terminal gets no command from it.
func TestHostileTextIsDisarmed(t *testing.T) {
	const evil = "a\x1b]0;title\x07b\x1b[2Jc\u009b31md\re\tf\x00g\xffh\u202ei"
	s, p := terminalPlayer(80, 40)
	var tr transcript
	p.ui.out.w = tr.stream("1 ")
	p.begin(evil)
	p.queue("waiting for "+evil, evil)
	p.progress("apps", evil+"\nsecond")
	w := hpaWarning
	w.Message, w.File, w.Object, w.Hint, w.Code = evil, evil, evil, evil, evil
	p.warning(w)
	k := api()
	k.Name, k.Message, k.Reason = evil, evil, evil
	k.Changes = append(k.Changes, change("created", evil, evil, evil, evil, evil), change("failed", evil, evil, evil, evil, evil))
	k.Written.Created++
	for i := range k.Problems {
		k.Problems[i].Message += evil + "\n::error::injected ##[add-path]"
	}
	p.ui.github = true
	p.done(k)
	p.ui.Error(fmt.Errorf("%s\n::add-mask::x", evil))
	golden(t, "hostile_screen.txt", strings.Join(append(s.scrolled, s.String()), "\n"))
	golden(t, "hostile_stdout.txt", tr.String())
}
