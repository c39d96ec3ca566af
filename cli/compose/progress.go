package compose

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cuppa-project/cuppa/compose/apply"
)

// progress shows events: one line each when piped, in place on a terminal.
type progress struct {
	out   io.Writer
	title string
	tty   bool
	color bool
	quiet bool
	width int
	now   func() time.Time

	lock  sync.Mutex
	rows  []*progressRow
	drawn int
	stop  chan struct{}
	ended chan struct{}
	frame int
}

type progressRow struct {
	apply.Event
	began, ended time.Time
}

// begin starts to show the progress of one piece of work; title is its word on a terminal.
func (s *session) begin(title string) *progress {
	p := &progress{out: s.Streams.Err, title: title, now: s.Now, color: s.Streams.ErrColor(), width: s.Streams.Width(),
		tty: s.Streams.ErrTerminal() && s.Streams.Env["TERM"] != "dumb", quiet: s.progress == "quiet"}
	switch s.progress {
	case "plain":
		p.tty = false
	case "tty":
		p.tty = true
	}
	if p.tty && !p.quiet {
		p.stop, p.ended = make(chan struct{}), make(chan struct{})
		go p.animate(p.stop, p.ended)
	}
	return p
}

// beginPlain shows progress in lines, whatever there is to write to.
func (s *session) beginPlain() *progress {
	return &progress{out: s.Streams.Err, now: s.Now, quiet: s.progress == "quiet"}
}

func (p *progress) animate(stop, ended chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	defer close(ended)
	for {
		select {
		case <-tick.C:
			p.lock.Lock()
			p.frame++
			p.draw()
			p.lock.Unlock()
		case <-stop:
			return
		}
	}
}

// event takes one event.
func (p *progress) event(e apply.Event) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.quiet {
		return
	}
	if !p.tty {
		fmt.Fprintln(p.out, e.Object+" "+e.Status)
		return
	}
	for _, row := range p.rows {
		if row.Object == e.Object {
			row.Event = e
			if e.State != apply.Working {
				row.ended = p.now()
			}
			return
		}
	}
	row := &progressRow{Event: e, began: p.now()}
	if e.State != apply.Working {
		row.ended = row.began
	}
	p.rows = append(p.rows, row)
}

// end draws the last state and leaves it on the screen.
func (p *progress) end() {
	if p.stop == nil {
		return
	}
	close(p.stop)
	<-p.ended
	p.stop = nil
	p.lock.Lock()
	defer p.lock.Unlock()
	p.draw()
	if p.drawn > 0 {
		fmt.Fprint(p.out, "\x1b[?25h")
	}
}

func (p *progress) draw() {
	if len(p.rows) == 0 {
		return
	}
	var b strings.Builder
	if p.drawn == 0 {
		b.WriteString("\x1b[?25l")
	} else {
		fmt.Fprintf(&b, "\x1b[%dA", p.drawn)
	}
	done, width := 0, 0
	for _, row := range p.rows {
		if row.State != apply.Working {
			done++
		}
		width = max(width, utf8.RuneCountInString(row.Object+" "+row.Status))
	}
	fmt.Fprintf(&b, "\x1b[2K[+] %s %d/%d\n", p.title, done, len(p.rows))
	for _, row := range p.rows {
		b.WriteString("\x1b[2K" + p.row(row, width) + "\n")
	}
	p.drawn = len(p.rows) + 1
	fmt.Fprint(p.out, b.String())
}

func (p *progress) row(row *progressRow, width int) string {
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	mark, code := string(frames[p.frame%len(frames)]), "33"
	until := row.ended
	switch row.State {
	case apply.Done:
		mark, code = "✔", "32"
	case apply.Failed:
		mark, code = "✘", "31"
	default:
		until = p.now()
	}
	paint := func(code, text string) string {
		if !p.color {
			return text
		}
		return "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	took := fmt.Sprintf("%.1fs", until.Sub(row.began).Seconds())
	text := row.Object + " " + row.Status
	blank := max(width, p.width-len(took)-5) - utf8.RuneCountInString(text) + 1
	if blank > 30 {
		blank = width - utf8.RuneCountInString(text) + 4
	}
	return " " + paint(code, mark) + " " + row.Object + " " + paint(code, row.Status) + strings.Repeat(" ", max(blank, 1)) + paint("34", took)
}
