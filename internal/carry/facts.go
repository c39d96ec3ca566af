package carry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

func parseFacts(raw []byte) (Facts, error) {
	var f Facts
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("read the note about a packed program: %w", err)
	}
	return f, f.validate()
}

// Pack compresses a program and notes what is to be known about it.
func Pack(from io.Reader, to io.Writer) (note []byte, err error) {
	packed, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(packed, sum), from)
	if err != nil {
		return nil, err
	}
	if err := packed.Close(); err != nil {
		return nil, err
	}
	return json.Marshal(Facts{Sum: hex.EncodeToString(sum.Sum(nil)), Size: size})
}
