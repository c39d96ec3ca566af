// Package logs writes and reads container logs in the format that the Container Runtime Interface prescribes.
//
// A log is a file of lines "TIME STREAM TAG MESSAGE", where TAG is F for a full line and P for a piece of a line too long for one
// record. When it grows over a size it is renamed to PATH.1 (the older ones to PATH.2 and so on) and a new file begins. The package
// knows nothing of containers. Start with Writer, then Read.
package logs

import (
	"bytes"
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

// maxRecord is the size at which a line is cut into several records, as other runtimes do it.
const maxRecord = 16 << 10

// Record is one parsed line of a log file.
type Record struct {
	Time    time.Time
	Stream  Stream
	Partial bool   // the line goes on in the next record of the same stream
	Message []byte // without its newline
}

// appendHead adds the beginning of a record, up to its tag.
func appendHead(buf []byte, t time.Time, s Stream) []byte {
	buf = t.UTC().AppendFormat(buf, "2006-01-02T15:04:05.000000000Z07:00")
	buf = append(buf, ' ')
	buf = append(buf, s...)
	return append(buf, ' ')
}

// appendRecord adds one record to buf. Records that are written together share a head.
func appendRecord(buf, head []byte, partial bool, msg []byte) []byte {
	buf = append(buf, head...)
	if partial {
		buf = append(buf, "P "...)
	} else {
		buf = append(buf, "F "...)
	}
	buf = append(buf, msg...)
	return append(buf, '\n')
}

// Parse reads one line, with or without its newline. The message is a part of line.
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
	return Record{Time: t, Stream: Stream(stream), Partial: string(first) == "P", Message: msg}, nil
}
