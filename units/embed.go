// Package units holds what the system needs to know of ipmbd: the systemd
// unit, the D-Bus activation and policy files and the group that may send.
// They are installed by make install, and embedded for what runs without an
// installation. The package's tests run each in a real dbus-daemon or with
// systemd's own tools.
package units

import _ "embed"

// Name is the well-known D-Bus name that the files are about.
const Name = "xyz.openbmc_project.Ipmi.Channel.Ipmb"

// Unit is ipmbd.service.
//
//go:embed ipmbd.service
var Unit []byte

// Activation is the D-Bus service file, of the name Name + ".service".
//
//go:embed xyz.openbmc_project.Ipmi.Channel.Ipmb.service
var Activation []byte

// Policy is the D-Bus policy file, of the name Name + ".conf".
//
//go:embed xyz.openbmc_project.Ipmi.Channel.Ipmb.conf
var Policy []byte

// Sysusers is ipmbd.conf of sysusers.d: it creates the group ipmbd.
//
//go:embed ipmbd.conf
var Sysusers []byte
