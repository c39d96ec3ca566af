package storage_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/apiserver/storage/memory"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestKeepHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- storage.KeepHistory(ctx, store, 5*time.Minute, slog.New(slog.DiscardHandler)) }()
		var written []time.Time // written[i] made revision i+2
		for i := range 60 {
			if _, err := store.Create(ctx, fmt.Sprint(i), nil); err != nil {
				t.Fatal(err)
			}
			written = append(written, time.Now())
			time.Sleep(20 * time.Second)
		}
		synctest.Wait()
		for i, at := range written {
			_, err := store.Range(ctx, "", "", 1, int64(i+2))
			age := time.Since(at)
			switch expired := errors.Is(err, errkind.Expired); {
			case expired && age < 5*time.Minute:
				t.Errorf("history of %v ago is gone", age)
			case !expired && age > 6*time.Minute:
				t.Errorf("history of %v ago is still there", age)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
