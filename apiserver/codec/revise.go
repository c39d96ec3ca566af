package codec

import (
	"bytes"
	"strconv"
)

// ReviseJSON returns the document of a stored JSON object: the same with its resource version put into the metadata, and a newline at
// the end. Nothing is decoded. False: the document has another form than the one that objects are stored in, and must be decoded.
func ReviseJSON(stored []byte, revision int64) ([]byte, bool) {
	at := metadataStart(stored)
	if at < 0 {
		return nil, false
	}
	end := bytes.TrimRight(stored, " \t\r\n")
	out := make([]byte, 0, len(stored)+48)
	out = append(out, stored[:at]...)
	out = append(out, `"resourceVersion":"`...)
	out = strconv.AppendInt(out, revision, 10)
	out = append(out, '"')
	if rest := bytes.TrimLeft(end[at:], " \t\r\n"); len(rest) > 0 && rest[0] != '}' {
		out = append(out, ',')
	}
	out = append(out, end[at:]...)
	return append(out, '\n'), true
}

// metadataStart finds the place behind the brace that opens the object's own metadata; -1 if there is none, or if it names a resource
// version already, which a stored object does not.
func metadataStart(doc []byte) int {
	const key = `"metadata":{`
	depth := 0
	for i := 0; i < len(doc); i++ {
		switch doc[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			if depth == 1 && bytes.HasPrefix(doc[i:], []byte(key)) && !isValue(doc, i) {
				at := i + len(key)
				if bytes.Contains(doc[at:], []byte(`"resourceVersion"`)) {
					return -1
				}
				return at
			}
			if i = stringEnd(doc, i); i < 0 {
				return -1
			}
		}
	}
	return -1
}

// isValue is true when what begins at i follows a colon.
func isValue(doc []byte, i int) bool { return i > 0 && doc[i-1] == ':' }

// stringEnd returns the place of the quote that ends the string beginning at i, or -1.
func stringEnd(doc []byte, i int) int {
	for i++; i < len(doc); i++ {
		switch doc[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}
