package plugins

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A terminal is one bash, as somebody has it open who reads a page: what one
// block sets is there in the next. Its home is its own.
type terminal struct {
	t       *testing.T
	dir     string // home, blocks and whatever serves
	home    string
	in      io.WriteCloser
	says    chan string
	blocks  int
	forward []string // OLD NEW…: what the page has, and what is here in its place
	back    []string // for output
}

// A block that takes longer than this hangs.
const blockTimeout = 3 * time.Minute

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	return openTerminal(t, t.TempDir())
}

// openTerminal opens one more where the home may be that of an earlier one.
func openTerminal(t *testing.T, dir string) *terminal {
	t.Helper()
	term := &terminal{t: t, dir: dir, home: filepath.Join(dir, "home"), says: make(chan string, 16)}
	term.back = []string{term.home, "/home/ada"}
	host, _ := os.Hostname()
	if me, err := user.Current(); err == nil {
		term.back = append(term.back, me.Username+"@"+host, "ada@laptop")
	} else { // whom the system does not know is whom USER names, below
		term.back = append(term.back, "ada@"+host, "ada@laptop")
	}
	if err := os.Mkdir(term.home, 0o700); err == nil {
		term.write("home/.gitconfig", "[user]\n\tname = Ada\n\temail = ada@example.com\n[init]\n\tdefaultBranch = main\n[core]\n\tpager = cat\n")
	} else if !os.IsExist(err) {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	bash := exec.Command("bash", "--noprofile", "--norc")
	bash.Dir = term.home
	bash.Env = []string{
		"HOME=" + term.home, "PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(),
		"USER=ada", "LC_ALL=C.UTF-8", "TERM=dumb", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
	}
	bash.ExtraFiles = []*os.File{write}
	bash.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if term.in, err = bash.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := bash.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	go func() {
		for lines := bufio.NewScanner(read); lines.Scan(); {
			term.says <- lines.Text()
		}
		close(term.says)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-bash.Process.Pid, syscall.SIGKILL) // and what it left in the background
		_ = bash.Wait()
		_ = read.Close()
	})
	// The line is that of the block, which is a file of its own; a failure within a function has more.
	term.send(`trap 'echo "line $LINENO" >&3' ERR; trap 'echo "exit $?" >&3' EXIT; set -eE -o pipefail`)
	return term
}

func (term *terminal) send(command string) {
	if _, err := io.WriteString(term.in, command+"\n"); err != nil {
		term.t.Fatalf("the shell is gone: %v", err)
	}
}

func (term *terminal) write(name, text string) {
	file := filepath.Join(term.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		term.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		term.t.Fatal(err)
	}
}

// here is text of the page with what stands for it here.
func (term *terminal) here(text string) string {
	return strings.NewReplacer(term.forward...).Replace(text)
}

// run types a block. It returns what was shown, and an error where the exit code
// is not the one that is wanted; line is that of the command, from 1.
func (term *terminal) run(text, exit string) (shown string, line int, err error) {
	term.blocks++
	name := fmt.Sprintf("blocks/%d", term.blocks)
	term.write(name, term.here(text))
	file := filepath.Join(term.dir, name)
	if exit == "0" {
		term.send(fmt.Sprintf(". %s >%s.out 2>&1 </dev/null; echo done 0 >&3", file, file))
	} else {
		term.send(fmt.Sprintf("trap - ERR; set +e; ( set -e; trap - EXIT; . %s ) >%s.out 2>&1 </dev/null; echo done $? >&3; "+
			`trap 'echo "line $LINENO" >&3' ERR; set -e`, file, file))
	}
	code := ""
	for timeout := time.After(blockTimeout); code == ""; {
		select {
		case said, open := <-term.says:
			word, value, _ := strings.Cut(said, " ")
			switch {
			case !open:
				code = "nothing: the shell is gone"
			case word == "line":
				_, _ = fmt.Sscan(value, &line)
			default:
				code = value
			}
		case <-timeout:
			code = "nothing within " + blockTimeout.String()
		}
	}
	out, readErr := os.ReadFile(file + ".out")
	if readErr != nil {
		term.t.Fatal(readErr)
	}
	shown = strings.NewReplacer(term.back...).Replace(string(out))
	if code != exit {
		err = fmt.Errorf("ends with %s, want %s:\n%s", code, exit, shown)
	}
	return shown, line, err
}

// cwd is where the shell is.
func (term *terminal) cwd() string {
	out, _, err := term.run("pwd -P\n", "0")
	if err != nil {
		term.t.Fatal(err)
	}
	return strings.Replace(strings.TrimSpace(out), "/home/ada", term.home, 1)
}
