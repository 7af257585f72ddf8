package i2c

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ipmbd/internal/chardev"
)

// nodes begins the paths of the character devices of ipmb-dev and ipmb-device; the number of the
// I2C bus follows.
const nodes = "/dev/ipmb-"

// Devices returns the paths of all IPMB devices of this machine, whoever has made them, in order
// of their I2C buses: nodes, and attributes of slave-mqueue.
func Devices() []string { return thisSystem().devices() }

func (s system) devices() []string {
	type device struct {
		bus  int
		path string
	}
	var all []device
	for _, node := range s.glob(nodes + "*") {
		digits := strings.TrimPrefix(node, nodes)
		// The kernel writes a number without zeros before it.
		if bus, err := strconv.ParseUint(digits, 10, 31); err == nil && strconv.FormatUint(bus, 10) == digits {
			all = append(all, device{int(bus), node})
		}
	}
	for _, attribute := range s.glob(filepath.Join(devices, "*", SlaveMqueue)) {
		if b, err := parseClient(filepath.Base(filepath.Dir(attribute))); err == nil {
			all = append(all, device{b.Bus, attribute})
		}
	}
	slices.SortFunc(all, func(a, b device) int { return cmp.Or(cmp.Compare(a.bus, b.bus), cmp.Compare(a.path, b.path)) })
	var paths []string
	for _, one := range all {
		paths = append(paths, one.path)
	}
	return paths
}

// glob returns the paths on this system that match a pattern.
func (s system) glob(pattern string) []string {
	found, _ := filepath.Glob(s.root + pattern) // The only error is a bad pattern.
	for i := range found {
		found[i] = strings.TrimPrefix(found[i], s.root)
	}
	return found
}

// WatchDevices begins to watch the nodes of Devices. Wait returns when a node has come or gone,
// since the call at the latest. sysfs reports no change of an attribute. The errors are those of
// OpenWatch.
func WatchDevices() (*Watch, error) {
	watch, err := chardev.OpenNamesWatch(nodes + "*")
	if err != nil {
		return nil, &OpError{Op: "watch", Device: nodes + "*", Err: err}
	}
	return watch, nil
}
