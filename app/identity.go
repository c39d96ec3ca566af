package app

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cuppa-project/cuppa/internal/atomicfile"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// identity names this server among those of its cluster. It stays the same when the server comes back, so that what the server led is its own again at
// once; the lock on the data directory makes sure that no two that live have one.
func identity(dataDir, node string) (string, error) {
	path := filepath.Join(dataDir, "server-id")
	have, err := os.ReadFile(path)
	if err == nil && len(have) > 0 {
		return node + "_" + string(have), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", errkind.New(errkind.Internal, "read the server's identity: %w", err)
	}
	raw := make([]byte, 8)
	rand.Read(raw) // never fails
	made := hex.EncodeToString(raw)
	if err := atomicfile.Write(path, []byte(made), 0o600); err != nil {
		return "", errkind.New(errkind.Internal, "write the server's identity: %w", err)
	}
	return node + "_" + made, nil
}
