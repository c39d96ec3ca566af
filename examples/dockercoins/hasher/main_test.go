package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHasher(t *testing.T) {
	server := httptest.NewServer(handler(0))
	defer server.Close()
	resp, err := http.Post(server.URL+"/", "application/octet-stream", strings.NewReader("abc"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	// The example of FIPS 180-2, appendix B.1.
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if string(body) != want || resp.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("POST abc: got %q as %q, want %q as text/plain", body, resp.Header.Get("Content-Type"), want)
	}
	big, err := http.Post(server.URL+"/", "", strings.NewReader(strings.Repeat("x", maxBytes+1)))
	if err != nil {
		t.Fatal(err)
	}
	big.Body.Close()
	if big.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("POST of %d bytes: got %d, want 413", maxBytes+1, big.StatusCode)
	}
}
