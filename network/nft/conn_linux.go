package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/network/netns"
)

// ErrUnknown is returned when the kernel's answer was lost: the transaction may have been carried out or not. Load the whole table again.
var ErrUnknown = errkind.New(errkind.Unavailable, "the kernel's answer was lost")

// Conn is a socket to the kernel's nftables in one network namespace. Calls are serialised.
type Conn struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf []byte
	snd int
}

// Open opens a socket in the namespace (nil: the process's own). It fails with a kind of error that says what is missing: Denied or
// Precondition.
func Open(ns *netns.NS) (*Conn, error) {
	c := &Conn{fd: -1, seq: uint32(time.Now().UnixNano()), buf: make([]byte, 64<<10)}
	err := ns.Do(func() (err error) {
		c.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err == nil {
		err = unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		c.Close()
		return nil, explain("open nftables socket", err)
	}
	for _, opt := range []struct{ level, name, value int }{
		{unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4 << 20},
	} {
		// Without these answers are only longer, or the buffer smaller.
		_ = unix.SetsockoptInt(c.fd, opt.level, opt.name, opt.value)
	}
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60}); err != nil {
		c.Close()
		return nil, explain("open nftables socket", err)
	}
	return c, nil
}

// Close closes the socket.
func (c *Conn) Close() error {
	if c.fd < 0 {
		return nil
	}
	err := unix.Close(c.fd)
	c.fd = -1
	return err
}

// explain gives the error a kind, and the next step where there is one.
func explain(doing string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return errkind.New(errkind.Denied, "%s: %w: root, or CAP_NET_ADMIN, is needed", doing, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return errkind.New(errkind.Precondition, "%s: %w: the kernel has no nftables: load it with `modprobe nf_tables`, or boot a kernel with CONFIG_NF_TABLES", doing, err)
	case errors.Is(err, unix.ENOBUFS):
		return fmt.Errorf("%s: %w", doing, ErrUnknown)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Replace loads the table with these elements in place of whatever has its name, in one transaction: no packet meets a gap.
func (c *Conn) Replace(t Table, elems []Element) error {
	return c.do(t, true, fmt.Sprintf("load table %s %s", t.Family, t.Name), func(b *batch) error {
		b.addTable()
		b.deleteTable()
		b.addTable()
		return b.contents(t, Update{Chains: t.Chains, Add: elems}, t.Sets)
	})
}

// Check has the kernel examine the table and its rules without loading them.
func (c *Conn) Check(t Table) error {
	return c.do(t, false, fmt.Sprintf("check table %s %s", t.Family, t.Name), func(b *batch) error {
		b.addTable()
		return b.contents(t, Update{Chains: t.Chains}, t.Sets)
	})
}

// Apply changes a loaded table in one transaction.
func (c *Conn) Apply(t Table, u Update) error {
	if u.Empty() {
		return nil
	}
	return c.do(t, true, fmt.Sprintf("change table %s %s", t.Family, t.Name), func(b *batch) error {
		return b.contents(t, u, nil)
	})
}

// Delete removes the table; one that is not there is no error.
func (c *Conn) Delete(f Family, name string) error {
	t := Table{Family: f, Name: name}
	return c.do(t, true, fmt.Sprintf("delete table %s %s", f, name), func(b *batch) error {
		b.addTable()
		b.deleteTable()
		return nil
	})
}

// Exists says whether there is a table of the name.
func (c *Conn) Exists(f Family, name string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{family: f, table: name, seq: c.seq, first: c.seq}
	b.message(unix.NFT_MSG_GETTABLE, unix.NLM_F_ACK, "look for table "+name, func() { b.str(unix.NFTA_TABLE_NAME, name) })
	c.seq = b.seq + 1
	if err := c.send(b.buf); err != nil {
		return false, explain("look for table "+name, err)
	}
	err := c.receive(b, b.first)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, explain("look for table "+name, err)
	}
	return true, nil
}

func (b *batch) contents(t Table, u Update, sets []Set) error {
	verdicts := map[string]bool{}
	for _, s := range t.Sets {
		verdicts[s.Name] = s.Verdicts
	}
	for i, s := range sets {
		b.addSet(s, uint32(i+1))
	}
	for _, c := range u.Chains {
		b.addChain(c)
	}
	for _, c := range u.Chains {
		if err := b.addRules(c); err != nil {
			return err
		}
	}
	remove, add := slices.Clone(u.Remove), slices.Clone(u.Add)
	bySet := func(x, y Element) int {
		if x.Set < y.Set {
			return -1
		}
		if x.Set > y.Set {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(remove, bySet)
	slices.SortStableFunc(add, bySet)
	b.elements(unix.NFT_MSG_DELSETELEM, "remove elements of", remove, verdicts)
	b.elements(unix.NFT_MSG_NEWSETELEM, "add elements to", add, verdicts)
	return nil
}

func (c *Conn) do(t Table, commit bool, doing string, fill func(*batch) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := newBatch(t.Family, t.Name, c.seq)
	if err := fill(b); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	last := b.close(commit)
	c.seq = b.seq + 1
	if err := c.send(b.buf); err != nil {
		return explain(doing, err)
	}
	if err := c.receive(b, last); err != nil {
		return explain(doing, err)
	}
	return nil
}

// send hands the whole transaction over at once: the kernel accepts no larger message than the socket's send buffer.
func (c *Conn) send(msg []byte) error {
	if need := len(msg) + 4096; need > c.snd {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, need); err != nil && need > 200<<10 {
			return fmt.Errorf("enlarge send buffer to %d bytes: %w", need, err)
		}
		c.snd = need
	}
	return unix.Sendto(c.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// receive reads answers until the one that ends the transaction: the acknowledgement of the last message, or an error of
// the batch as a whole, which carries the first message's number.
func (c *Conn) receive(b *batch, last uint32) error {
	var first error
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return ErrUnknown
		case err != nil:
			return err
		}
		for msg := c.buf[:n]; len(msg) >= 20; {
			size := int(binary.NativeEndian.Uint32(msg))
			typ := binary.NativeEndian.Uint16(msg[4:])
			seq := binary.NativeEndian.Uint32(msg[8:])
			code := int32(binary.NativeEndian.Uint32(msg[16:]))
			msg = msg[min(len(msg), max(20, (size+3)&^3)):]
			if typ != unix.NLMSG_ERROR || seq-b.first > last-b.first {
				continue // an answer to an earlier transaction
			}
			if code != 0 && first == nil {
				first = fmt.Errorf("%s: %w", b.label(seq), unix.Errno(-code))
			}
			if seq == last || (seq == b.first && code != 0) {
				return first
			}
		}
	}
}
