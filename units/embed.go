// Package units holds what the system needs to know of ipmbd: the systemd
// units, the D-Bus activation and policy files, the groups, the folder of the
// sockets and the devices that start it. They are installed by make install,
// and embedded for what runs without an installation. The package's tests run
// each in a real dbus-daemon or with systemd's own tools; those of test/systemd
// run all under systemd.
package units

import _ "embed"

// Name is the well-known D-Bus name that the files are about.
const Name = "xyz.openbmc_project.Ipmi.Channel.Ipmb"

// Unit is ipmbd.service.
//
//go:embed ipmbd.service
var Unit []byte

// Socket is ipmbd.socket, for clients that want IPMB frames without D-Bus.
//
//go:embed ipmbd.socket
var Socket []byte

// VMSocket is ipmbd-vm@.socket, an instance of which is where a virtual machine
// connects.
//
//go:embed ipmbd-vm@.socket
var VMSocket []byte

// Rules is ipmbd.rules of udev: devices that start the service.
//
//go:embed ipmbd.rules
var Rules []byte

// Activation is the D-Bus service file, of the name Name + ".service".
//
//go:embed xyz.openbmc_project.Ipmi.Channel.Ipmb.service
var Activation []byte

// Policy is the D-Bus policy file, of the name Name + ".conf".
//
//go:embed xyz.openbmc_project.Ipmi.Channel.Ipmb.conf
var Policy []byte

// Sysusers is ipmbd.conf of sysusers.d: it creates the groups of those who may
// send and of those who may be a machine.
//
//go:embed sysusers.conf
var Sysusers []byte

// Tmpfiles is ipmbd.conf of tmpfiles.d: it creates the folder of the sockets.
//
//go:embed tmpfiles.conf
var Tmpfiles []byte
