// Package units embeds the files that integrate ipmbd into a system: systemd units, D-Bus
// activation and policy, groups, the folder of the sockets, and the udev rule for devices that
// start ipmbd. make install installs the same files. The tests of this package check each file
// with a real dbus-daemon or with systemd's tools; test/systemd runs all of them under systemd.
package units

import _ "embed"

// Name is the well-known D-Bus name of ipmbd.
const Name = "xyz.openbmc_project.Ipmi.Channel.Ipmb"

// Unit is ipmbd.service.
//
//go:embed ipmbd.service
var Unit []byte

// Socket is ipmbd.socket, the frame socket: IPMB frames for programs without D-Bus.
//
//go:embed ipmbd.socket
var Socket []byte

// VMSocket is ipmbd-vm@.socket. Each instance is the socket of a virtual machine.
//
//go:embed ipmbd-vm@.socket
var VMSocket []byte

// Rules is ipmbd.rules of udev: it makes devices start the service.
//
//go:embed ipmbd.rules
var Rules []byte

// Activation is the D-Bus service file. Its name is Name + ".service".
//
//go:embed xyz.openbmc_project.Ipmi.Channel.Ipmb.service
var Activation []byte

// Policy is the D-Bus policy file. Its name is Name + ".conf".
//
//go:embed xyz.openbmc_project.Ipmi.Channel.Ipmb.conf
var Policy []byte

// Sysusers is ipmbd.conf of sysusers.d: it creates the groups ipmbd and ipmbd-vm.
//
//go:embed sysusers.conf
var Sysusers []byte

// Tmpfiles is ipmbd.conf of tmpfiles.d: it creates the folder of the sockets.
//
//go:embed tmpfiles.conf
var Tmpfiles []byte
