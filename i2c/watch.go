package i2c

import "ipmbd/internal/chardev"

// Watch tells when what a transport opens comes or goes.
type Watch = chardev.Watch

// OpenWatch begins to watch the path of a device or a socket, which need not
// exist. Wait returns when it has come, gone or been replaced since. The errors
// are OpErrors that unwrap to the system's.
func OpenWatch(path string) (*Watch, error) {
	watch, err := chardev.OpenWatch(path)
	if err != nil {
		return nil, &OpError{Op: "watch", Device: path, Err: err}
	}
	return watch, nil
}
