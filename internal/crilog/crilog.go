// Package crilog is the form of container logs that the Container Runtime Interface prescribes, and the one reader of them.
//
// A log is a file of lines "TIME STREAM TAG MESSAGE", where TAG is F for a full line and P for a piece of a line too long for one
// record. Older parts are beside it as FILE.1, FILE.2 and so on, the higher the older. It writes no logs and rotates none: engine/logs
// does, or another runtime. Start with Record, then Read.
package crilog

import (
	"bytes"
	"strconv"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Stream names where a line came from.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// MaxMessage is the size at which a line is cut into several records, as other runtimes do it.
const MaxMessage = 16 << 10

// Record is one parsed line of a log file.
type Record struct {
	Time    time.Time
	Stamp   []byte // the time as it is written there
	Stream  Stream
	Partial bool   // the line goes on in the next record of the same stream
	Message []byte // without its newline
}

// AppendHead adds the beginning of a record, up to its tag.
func AppendHead(buf []byte, t time.Time, s Stream) []byte {
	buf = t.UTC().AppendFormat(buf, "2006-01-02T15:04:05.000000000Z07:00")
	buf = append(buf, ' ')
	buf = append(buf, s...)
	return append(buf, ' ')
}

// AppendRecord adds one record to buf. Records that are written together share a head.
func AppendRecord(buf, head []byte, partial bool, msg []byte) []byte {
	buf = append(buf, head...)
	if partial {
		buf = append(buf, "P "...)
	} else {
		buf = append(buf, "F "...)
	}
	buf = append(buf, msg...)
	return append(buf, '\n')
}

// Parse reads one line, with or without its newline. Stamp and Message are parts of it.
func Parse(line []byte) (Record, error) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	stamp, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return Record{}, errkind.New(errkind.Invalid, "log line has no timestamp")
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Record{}, errkind.New(errkind.Invalid, "parse log timestamp: %w", err)
	}
	stream, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok || (string(stream) != string(Stdout) && string(stream) != string(Stderr)) {
		return Record{}, errkind.New(errkind.Invalid, "log line has unknown stream %q", stream)
	}
	tag, msg, _ := bytes.Cut(rest, []byte(" "))
	first, _, _ := bytes.Cut(tag, []byte(":")) // further tags may follow after a colon
	if string(first) != "F" && string(first) != "P" {
		return Record{}, errkind.New(errkind.Invalid, "log line has unknown tag %q", tag)
	}
	return Record{Time: t, Stamp: stamp, Stream: Stream(stream), Partial: string(first) == "P", Message: msg}, nil
}

// Part is the path of a log's part: 0 is the one that is written to, the higher the older.
func Part(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}
