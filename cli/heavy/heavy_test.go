package heavy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// actVariable makes the test's own program the child that answers.
const actVariable = "HEAVY_TEST_ACT"

func TestMain(m *testing.M) {
	switch os.Getenv(actVariable) {
	case "answer":
		err := Answer(context.Background(), func(_ context.Context, q string) string {
			fmt.Println("shown by the child")
			return q + " " + strings.Join(os.Args[1:], " ")
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "die":
		os.Exit(3)
	case "stay":
		time.Sleep(time.Minute) // until it is interrupted
	}
	os.Exit(m.Run())
}

// self starts the test's own program.
type self string

func (self) Exec([]string, []string) error { return errors.New("nobody becomes another program here") }

func (act self) Start(ctx context.Context, argv []string, prepare func(*exec.Cmd)) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = argv
	prepare(cmd)
	cmd.Env = append(os.Environ(), actVariable+"="+string(act))
	return cmd, cmd.Start()
}

func TestAsk(t *testing.T) {
	var out strings.Builder
	long := strings.Repeat("x", 1<<20) // more than a pipe holds
	got, err := Ask[string, string](t.Context(), self("answer"), "ask-it", long, Streams{Out: &out})
	if err != nil || got != long+" ask-it" || out.String() != "shown by the child\n" {
		t.Errorf("%d bytes of answer, shown %q, %v", len(got), out.String(), err)
	}
	_, err = Ask[string, string](t.Context(), self("die"), "ask-it", long, Streams{})
	if !errors.Is(err, errkind.Internal) || !strings.Contains(err.Error(), "ask-it gave no answer") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("a child that dies: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := Ask[string, string](ctx, self("stay"), "ask-it", "", Streams{}); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted question: %v", err)
	}
}

func TestFault(t *testing.T) {
	for _, err := range []error{nil, errors.New("plain"), errkind.New(errkind.NotFound, "no such thing"), context.Canceled, fmt.Errorf("build: %w", context.Canceled)} {
		got := FaultOf(err).Err()
		switch {
		case err == nil:
			if got != nil {
				t.Errorf("nothing became %v", got)
			}
		case errors.Is(err, context.Canceled):
			if !errors.Is(got, context.Canceled) {
				t.Errorf("%v became %v", err, got)
			}
		case got == nil || got.Error() != err.Error() || errkind.Of(got) != errkind.Of(err):
			t.Errorf("%v became %v", err, got)
		}
	}
}
