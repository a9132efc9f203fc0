package ui

import (
	"fmt"
	"strings"
	"testing"
)

// screen is a terminal that knows what we write: text, CR, LF, cursor up, the
// erasure of a line and of what is below. Colors it ignores. Anything else is
// a mistake and shows as ?.
type screen struct {
	w, h     int
	rows     [][]string // cells; a wide rune is followed by an empty one
	row, col int
	wrapped  bool
	scrolled []string // what left the screen at the top
}

func newScreen(w, h int) *screen { return &screen{w: w, h: h, rows: make([][]string, h)} }

func (s *screen) Write(b []byte) (int, error) {
	for text := string(b); text != ""; {
		switch {
		case strings.HasPrefix(text, "\x1b["):
			end := strings.IndexFunc(text[2:], func(r rune) bool { return r >= 0x40 }) + 2
			n := 0
			fmt.Sscanf(text[2:end], "%d", &n)
			switch final := text[end]; {
			case final == 'm':
			case final == 'A':
				s.row = max(s.row-n, 0)
			case final == 'J' && n == 0:
				s.rows[s.row] = s.rows[s.row][:min(s.col, len(s.rows[s.row]))]
				clear(s.rows[s.row+1:])
			case final == 'K' && n == 2:
				s.rows[s.row] = nil
			default:
				s.print("?", 1)
			}
			text = text[end+1:]
			continue
		case text[0] == '\r':
			s.col = 0
		case text[0] == '\n':
			s.col = 0
			s.down()
		default:
			unit, n := cell(text)
			s.print(unit, n)
			text = text[len(unit):]
			continue
		}
		text = text[1:]
	}
	return len(b), nil
}

func (s *screen) print(unit string, n int) {
	if s.col+n > s.w {
		s.wrapped = true
		s.col = 0
		s.down()
	}
	row := s.rows[s.row]
	for len(row) < s.col+n {
		row = append(row, " ")
	}
	for i := range n {
		row[s.col+i] = ""
	}
	if n > 0 {
		row[s.col] = unit
	}
	s.rows[s.row], s.col = row, s.col+n
}

func (s *screen) down() {
	if s.row++; s.row == s.h {
		s.scrolled = append(s.scrolled, strings.Join(s.rows[0], ""))
		s.rows = append(s.rows[1:], nil)
		s.row--
	}
}

// resize breaks lines that are too wide now, as terminals do that reflow. The
// cursor stays in its line.
func (s *screen) resize(w int) {
	var rows [][]string
	row := 0
	for i, r := range s.rows[:s.row+1] {
		if i == s.row {
			row = len(rows)
		}
		for len(r) > w {
			rows = append(rows, r[:w])
			r = r[w:]
		}
		rows = append(rows, r)
	}
	for len(rows) < s.h {
		rows = append(rows, nil)
	}
	for row >= s.h {
		s.scrolled = append(s.scrolled, strings.Join(rows[0], ""))
		rows, row = rows[1:], row-1
	}
	s.w, s.rows, s.row = w, rows[:s.h], row
}

// String is what is to be seen, without the empty rows below.
func (s *screen) String() string {
	var b strings.Builder
	last := s.row
	for i, row := range s.rows {
		if len(row) > 0 {
			last = max(last, i)
		}
	}
	for _, row := range s.rows[:last+1] {
		b.WriteString(strings.TrimRight(strings.Join(row, ""), " ") + "\n")
	}
	return b.String()
}

// all is what was ever permanent: what scrolled out and what is to be seen.
func (s *screen) all() string {
	return strings.Join(append(s.scrolled, s.String()), "\n")
}

func TestScreen(t *testing.T) {
	s := newScreen(6, 3)
	fmt.Fprint(s, "one\ntwo\nthree\x1b[31m!\x1b[0m\n\x1b[2A\r\x1b[2Kzwei\n界x\x1b[J")
	if got, want := s.all(), "one\nzwei\n界x\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.resize(3)
	if got, want := s.String(), "zwe\ni\n界x\n"; got != want {
		t.Errorf("resized: got %q, want %q", got, want)
	}
}
