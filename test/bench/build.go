package main

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// floorSources are the C programs that the daemon is measured against, and the
// peers that cost least: see the head of each.
//
//go:embed floor/*.c floor/*.h
var floorSources embed.FS

var errTools = errors.New("the floors need a C compiler, pkg-config and sd-bus; " +
	"install them with: apt-get install gcc libc6-dev pkg-config libsystemd-dev")

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
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "libsystemd").CombinedOutput()
	if err != nil {
		return toolError("pkg-config", err, flags)
	}
	for _, program := range []string{p.echo(), p.bridge(), p.host(), p.broker()} {
		source := filepath.Join(p.dir, "floor", filepath.Base(program)+".c")
		args := []string{"-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source}
		cmd := exec.Command("cc", append(args, strings.Fields(string(flags))...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return toolError("cc", err, out)
		}
	}
	return nil
}

func toolError(tool string, err error, out []byte) error {
	return fmt.Errorf("%w (%s: %w) %s", errTools, tool, err, strings.TrimSpace(string(out)))
}
