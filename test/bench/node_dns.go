package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/miekg/dns"
)

func intOrString(port int32) intstr.IntOrString { return intstr.FromInt32(port) }

// queries asks the node's DNS for random Services, as fast as it answers.
func (w *worker) queries(ctx context.Context) error {
	resolver, err := w.resolver()
	if err != nil {
		return err
	}
	packed, err := w.questions()
	if err != nil {
		return err
	}
	server, err := w.dnsProcess()
	if err != nil {
		return err
	}
	before, err := cpuTime(server)
	if err != nil {
		return err
	}
	var answered atomic.Int64
	began := time.Now()
	_, err = hammer(ctx, dnsSockets, dnsSockets, 2*dnsTime, func(ctx context.Context, _ int) error {
		conn, err := w.dial(ctx, "udp", resolver)
		if err != nil {
			return err
		}
		defer conn.Close()
		udp, ok := conn.(*net.UDPConn)
		if !ok {
			return errors.New("not a UDP socket")
		}
		return ask(udp, packed, began.Add(dnsTime), &answered)
	})
	if err != nil {
		return err
	}
	elapsed := time.Since(began)
	after, err := cpuTime(server)
	if err != nil {
		return err
	}
	n := float64(answered.Load())
	if n == 0 {
		return errors.New("no query was answered")
	}
	w.put("dns", n/elapsed.Seconds(), float64((after-before).Microseconds())/n)
	return nil
}

// questions are packed queries for every Service.
func (w *worker) questions() ([][]byte, error) {
	var all [][]byte
	for i := range serviceCount {
		name := fmt.Sprintf("s%d.%s.svc.cluster.local.", i, w.namespace)
		packed, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
		if err != nil {
			return nil, err
		}
		all = append(all, packed)
	}
	return all, nil
}

// ask keeps queries in flight on one socket and counts the answers that hold an address. A lost datagram costs a fifth of a second.
func ask(socket *net.UDPConn, questions [][]byte, until time.Time, answered *atomic.Int64) error {
	batch := ipv4.NewPacketConn(socket)
	out, in := make([]ipv4.Message, dnsInFlight), make([]ipv4.Message, dnsInFlight)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, 1500)}
	}
	for time.Now().Before(until) {
		for i := range out {
			out[i].Buffers = [][]byte{questions[rand.IntN(len(questions))]}
		}
		for sent := 0; sent < len(out); {
			n, err := batch.WriteBatch(out[sent:], 0)
			if err != nil {
				return fmt.Errorf("send queries: %w", err)
			}
			sent += n
		}
		for left := len(out); left > 0; {
			if err := socket.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
				return err
			}
			n, err := batch.ReadBatch(in[:left], 0)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return fmt.Errorf("receive answers: %w", err)
			}
			left -= n
			for _, message := range in[:n] {
				if message.N > 12 && binary.BigEndian.Uint16(message.Buffers[0][6:]) > 0 {
					answered.Add(1)
				}
			}
		}
	}
	return nil
}

// dnsProcess finds the process that answers: the one that has the resolver's zone file on its command line.
func (m *machine) dnsProcess() ([]int, error) {
	for _, pid := range processes(filepath.Join(m.run(), "dns")) {
		line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		if err == nil && bytes.Contains(line, []byte("cuppa-helper\x00dns\x00")) {
			return []int{pid}, nil
		}
	}
	return nil, errors.New("no DNS process of the node was found")
}
