package compose

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

// TestErrorsSayWhatToDo: what the network says of a cluster is put in words that lead on, and kept.
func TestErrorsSayWhatToDo(t *testing.T) {
	request := func(err error) error { return &url.Error{Op: "Get", URL: "https://127.0.0.1:6443/api", Err: err} }
	other := errors.New("something else")
	for _, c := range []struct {
		err  error
		want string
	}{
		{request(syscall.ECONNREFUSED), "start one with `cuppa up`"},
		{NoConfig("/nowhere"), "start one with `cuppa up`"},
		{fmt.Errorf("list pods: %w", request(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}})), "name its directory with --data-dir"},
		{other, "something else"},
	} {
		got := (&session{}).explain(c.err)
		if !strings.Contains(got.Error(), c.want) || !strings.Contains(got.Error(), c.err.Error()) || !errors.Is(got, c.err) {
			t.Errorf("%v is told as %v", c.err, got)
		}
	}
	if (&session{}).explain(nil) != nil {
		t.Error("no error is told as one")
	}
}
