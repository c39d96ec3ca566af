// Command pack compresses a program for another to carry: `pack PROGRAM FOLDER` writes FOLDER/NAME.zst and FOLDER/NAME.json, where NAME is
// the program's file name. It is run by make.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cuppa-project/cuppa/internal/atomicfile"
	"github.com/cuppa-project/cuppa/internal/carry"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: pack PROGRAM FOLDER")
		os.Exit(2)
	}
	if err := pack(os.Args[1], filepath.Join(os.Args[2], filepath.Base(os.Args[1]))); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

// pack writes the note last, so that a run that was cut short leaves no pair that looks whole.
func pack(program, to string) error {
	from, err := os.Open(program)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := os.Remove(to + ".json"); err != nil && !os.IsNotExist(err) {
		return err
	}
	packed, err := os.Create(to + ".zst")
	if err != nil {
		return err
	}
	note, err := carry.Pack(from, packed)
	if err != nil {
		packed.Close()
		return err
	}
	if err := packed.Close(); err != nil {
		return err
	}
	return atomicfile.Write(to+".json", note, 0o644)
}
