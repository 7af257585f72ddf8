package systemd

import (
	"strings"
	"testing"
)

// The unit lets the service write where its StateDirectory= is.
func TestFolderOfTheBMCElsewhere(t *testing.T) {
	for _, folder := range []string{"/srv/ipmbd", "/home/ipmbd", "/etc/passwd/ipmbd"} {
		t.Run(folder, func(t *testing.T) {
			l := startBoard(t, files{configPath: strings.Replace(config, "/var/lib/ipmbd", folder, 1)})
			if said, status := l.try("systemctl", "start", service); status == 0 {
				t.Errorf("it has started: %s", said)
			}
			l.becomes(service, "ActiveState", "failed")
			for property, want := range map[string]string{"Result": "exit-code", "ExecMainStatus": "2", "NRestarts": "0"} {
				if got := l.show(service, property); got != want {
					t.Errorf("%s is %s, want %s", property, got, want)
				}
			}
			l.logged("bmc.folder: ")
			if folder != "/etc/passwd/ipmbd" {
				l.logged("StateDirectory=")
			}
		})
	}
}
