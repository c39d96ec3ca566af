package containertest

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Programs is the small part of a shell's world that the fake brings along: true, false, echo, cat, sleep, pause, and sh -c with
// commands separated by ";" or "&&" (echo, sleep, exit, cat, true, false, trap 'exit N' TERM, and >&2).
func Programs() map[string]Program {
	return map[string]Program{
		"true":  func(context.Context, *Proc) int { return 0 },
		"false": func(context.Context, *Proc) int { return 1 },
		"echo":  echo,
		"cat":   cat,
		"sleep": sleep,
		"pause": pause,
		"sh":    shell,
	}
}

func echo(_ context.Context, p *Proc) int {
	fmt.Fprintln(p.Stdout, strings.Join(p.Args[1:], " "))
	return 0
}

func cat(ctx context.Context, p *Proc) int {
	done := make(chan struct{})
	go func() {
		io.Copy(p.Stdout, p.Stdin)
		close(done)
	}()
	select {
	case <-done:
		return 0
	case <-ctx.Done():
		return 128 + 9
	case sig := <-p.Signals:
		return 128 + sig
	}
}

// sleep ignores signals other than KILL, as pid 1 of a pid namespace does.
func sleep(ctx context.Context, p *Proc) int {
	if len(p.Args) < 2 {
		return 1
	}
	return wait(ctx, p.Args[1], nil)
}

func wait(ctx context.Context, seconds string, signals <-chan int) int {
	n, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return 1
	}
	timer := time.NewTimer(time.Duration(n * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return 0
	case <-ctx.Done():
		return 128 + 9
	case sig := <-signals:
		return 128 + sig
	}
}

// pause waits for TERM.
func pause(ctx context.Context, p *Proc) int {
	for {
		select {
		case <-ctx.Done():
			return 128 + 9
		case sig := <-p.Signals:
			if sig == 15 {
				return 0
			}
		}
	}
}

func shell(ctx context.Context, p *Proc) int {
	if len(p.Args) < 3 || p.Args[1] != "-c" {
		return 2
	}
	var trap <-chan int // nil until TERM is trapped
	trapCode, last := 0, 0
	for _, command := range strings.Split(p.Args[2], ";") {
		for step := range strings.SplitSeq(command, "&&") {
			words := strings.Fields(step)
			out := p.Stdout
			if n := len(words); n > 0 && words[n-1] == ">&2" {
				words, out = words[:n-1], p.Stderr
			}
			if len(words) == 0 {
				continue
			}
			switch words[0] {
			case "exit":
				code, _ := strconv.Atoi(strings.Join(words[1:], ""))
				return code
			case "trap":
				trapCode, _ = strconv.Atoi(strings.Trim(words[2], "'"))
				trap = p.Signals
			case "sleep":
				if last = wait(ctx, words[1], trap); last > 128 {
					if ctx.Err() == nil {
						return trapCode
					}
					return last
				}
			case "echo":
				fmt.Fprintln(out, strings.Trim(strings.Join(words[1:], " "), `"'`))
				last = 0
			case "cat":
				last = cat(ctx, p)
			case "true":
				last = 0
			case "false":
				last = 1
			default:
				fmt.Fprintf(p.Stderr, "sh: %s: not found\n", words[0])
				last = 127
			}
			if last != 0 {
				break
			}
		}
	}
	return last
}
