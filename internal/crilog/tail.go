package crilog

import (
	"bytes"
	"io"
	"os"
)

// blockSize is how much of a file is looked at at once from its end.
const blockSize = 32 << 10

// tailOffset finds where the last wanted lines of a file begin, and how many there are.
func tailOffset(file *os.File, wanted int64) (offset, found int64, err error) {
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	rest := []byte{} // from position up to the last line start that was counted
	start := end     // where the last counted line starts
	for position := end; ; {
		for {
			i := bytes.LastIndexByte(bytes.TrimSuffix(rest, []byte("\n")), '\n')
			if i < 0 && position > 0 || len(rest) == 0 {
				break
			}
			if rec, err := Parse(rest[i+1:]); err == nil && !rec.Partial && rest[len(rest)-1] == '\n' {
				if found == wanted {
					return start, found, nil
				}
				found++
			}
			rest = rest[:i+1]
			start = position + int64(len(rest))
		}
		if position == 0 {
			return 0, found, nil
		}
		size := min(blockSize, position)
		position -= size
		block := make([]byte, size, size+int64(len(rest)))
		if _, err := file.ReadAt(block, position); err != nil {
			return 0, 0, err
		}
		rest = append(block, rest...)
	}
}
