package memory_test

import (
	"testing"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/apiserver/storage/memory"
	"github.com/cuppa-project/cuppa/apiserver/storage/storagetest"
)

func TestStore(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Store { return memory.New() })
}

func TestStorePrintsItsContent(t *testing.T) {
	s := memory.New()
	for _, key := range []string{"/b", "/a", "/c"} {
		if _, err := s.Create(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Delete(t.Context(), "/c", 4); err != nil {
		t.Fatal(err)
	}
	if got, want := s.String(), "/a@3\n/b@2\n"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}
