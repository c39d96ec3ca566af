package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// maxFrame bounds what a peer can make us allocate. An OCI specification has some 20 kB.
const maxFrame = 16 << 20

// Conn is one call's connection.
type Conn struct{ *net.UnixConn }

// Send writes one frame with file descriptors, which remain the caller's.
func (c Conn) Send(frame any, fds ...int) error {
	body, err := json.Marshal(frame)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	data := binary.BigEndian.AppendUint32(make([]byte, 0, len(body)+4), uint32(len(body)))
	data = append(data, body...)
	if len(fds) == 0 {
		_, err = c.Write(data)
		return err
	}
	n, _, err := c.WriteMsgUnix(data, unix.UnixRights(fds...), nil)
	if err == nil && n < len(data) {
		_, err = c.Write(data[n:])
	}
	return err
}

// Receive reads one frame and the file descriptors that came with it, which become the caller's.
func (c Conn) Receive(frame any) ([]*os.File, error) {
	var (
		head  [4]byte
		oob   = make([]byte, unix.CmsgSpace(4*8))
		files []*os.File
	)
	for got := 0; got < len(head); {
		n, oobn, _, _, err := c.ReadMsgUnix(head[got:], oob)
		files = append(files, received(oob[:oobn])...)
		if err == nil && n == 0 {
			err = io.EOF
		}
		if err != nil {
			CloseAll(files)
			return nil, err
		}
		got += n
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxFrame {
		CloseAll(files)
		return nil, errkind.New(errkind.Invalid, "frame of %d bytes is too large", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c, body); err != nil {
		CloseAll(files)
		return nil, err
	}
	if err := json.Unmarshal(body, frame); err != nil {
		CloseAll(files)
		return nil, errkind.New(errkind.Invalid, "decode frame: %w", err)
	}
	return files, nil
}

// received takes the file descriptors out of a control message.
func received(oob []byte) []*os.File {
	if len(oob) == 0 {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files
}

// CloseAll closes files; nil ones are skipped.
func CloseAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// Body encodes the body of a frame; the types of this package always can be.
func Body(v any) json.RawMessage {
	body, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage(`null`)
	}
	return body
}

// Address returns an address for a socket path of any length. The kernel takes about 100 bytes; a longer one is reached through
// its folder, which must stay open until the call that uses the address has returned.
func Address(path string) (addr *net.UnixAddr, done func(), err error) {
	if len(path) < 100 {
		return &net.UnixAddr{Net: "unix", Name: path}, func() {}, nil
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", filepath.Dir(path), err)
	}
	name := filepath.Join("/proc/self/fd", strconv.Itoa(dir), filepath.Base(path))
	return &net.UnixAddr{Net: "unix", Name: name}, func() { unix.Close(dir) }, nil
}
