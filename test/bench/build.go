package main

import (
	"embed"
	"os"
	"path/filepath"

	"ipmbd/test/build"
)

// floorSources are the C programs that the daemon is measured against, and the
// peers that cost least: see the head of each.
//
//go:embed floor/*.c floor/*.h
var floorSources embed.FS

// programs are the C programs, compiled, in a folder.
type programs struct{ dir string }

func (p programs) echo() string   { return filepath.Join(p.dir, "echo") }
func (p programs) bridge() string { return filepath.Join(p.dir, "bridge") }
func (p programs) host() string   { return filepath.Join(p.dir, "host") }
func (p programs) broker() string { return filepath.Join(p.dir, "broker") }

func (p programs) remove() { os.RemoveAll(p.dir) }

// buildPrograms compiles the C programs into a new folder.
func buildPrograms() (programs, error) {
	dir, err := os.MkdirTemp("", "ipmbd-bench-")
	if err != nil {
		return programs{}, err
	}
	p := programs{dir}
	if err := p.compile(); err != nil {
		p.remove()
		return programs{}, err
	}
	return p, nil
}

func (p programs) compile() error {
	if err := os.CopyFS(p.dir, floorSources); err != nil {
		return err
	}
	for _, program := range []string{p.echo(), p.bridge(), p.host(), p.broker()} {
		if err := build.C(program, filepath.Join(p.dir, "floor", filepath.Base(program)+".c")); err != nil {
			return err
		}
	}
	return nil
}
