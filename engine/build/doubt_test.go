package build

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
)

// TestDoubt holds that changes wait for the disk but while builds run, and that a note is there as long as they do not.
func TestDoubt(t *testing.T) {
	dir := t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	synctest.Test(t, func(t *testing.T) {
		d := newDoubt(dir, "this-boot", db.Update, slog.New(slog.DiscardHandler))
		check := func(when string, doubtful bool) {
			t.Helper()
			synctest.Wait()
			_, err := os.Stat(filepath.Join(dir, doubtFile))
			if noted := err == nil; noted != doubtful || db.NoSync != doubtful {
				t.Errorf("%s: a note is there: %v; nobody waits for the disk: %v; want %v", when, noted, db.NoSync, doubtful)
			}
			for boot, want := range map[string]bool{"this-boot": false, "the-next-boot": doubtful} {
				if got, err := torn(dir, boot); err != nil || got != want {
					t.Errorf("%s: torn, as seen by %s: %v, %v; want %v", when, boot, got, err, want)
				}
			}
		}
		check("at first", false)
		d.begin()
		d.begin()
		check("while two builds run", true)
		d.end()
		time.Sleep(2 * calm)
		check("while one runs", true)
		d.end()
		time.Sleep(calm / 2)
		check("just after", true)
		d.begin()
		time.Sleep(2 * calm)
		check("while a third runs", true)
		d.end()
		time.Sleep(2 * calm)
		check("after a while", false)
		d.begin()
		d.close()
		check("after the end", false)
		d.end()
		time.Sleep(2 * calm)
		check("after a build that was broken off", false)
		newDoubt(dir, "this-boot", db.Update, slog.New(slog.DiscardHandler)).begin()
		check("when the program is killed", true)
		newDoubt(dir, "this-boot", db.Update, slog.New(slog.DiscardHandler))
		check("when it is started again", false)
	})
}
