# Copy this recipe into a layer, with the two .inc files. It follows the classes of
# OE-Core whinlatter (5.3), and has NOT been built with bitbake. A test compares the
# version of Go, the modules, the licences, the units and the groups with the sources.
#
# - Set IPMBD_SRC_URI to the location of the source, and SRCREV.
# - It needs Go 1.26. An OE-Core with an older version needs a layer that has it.
# - do_fetch fetches the modules, as gomod://, with checksums. do_compile has no
#   network: with GOPROXY=off a missing module is an error. After a change of go.mod,
#   IPMBD_UPDATE=1 go test ./packaging makes the .inc files anew; so does
#   bitbake -c update_modules ipmbd, of go-mod-update-modules.
# - The machine provides the configuration: install ipmbd.json into
#   ${sysconfdir}/ipmbd, or ipmbbridge's ipmb-channels.json into
#   ${datadir}/ipmbbridge, in a .bbappend. Without one the service does not start.

SUMMARY = "IPMI messages on D-Bus"
DESCRIPTION = "The IPMI service of a BMC: IPMB buses and the interfaces to hosts, on D-Bus"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://src/${GO_IMPORT}/LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

IPMBD_SRC_URI ??= "git://git.example.org/ipmbd.git;protocol=https;branch=main"
SRC_URI = "${IPMBD_SRC_URI};destsuffix=${GO_SRCURI_DESTSUFFIX}"
SRCREV ?= "${AUTOREV}"
PV = "0+git"

GO_IMPORT = "ipmbd"

require ${BPN}-go-mods.inc
require ${BPN}-licenses.inc

inherit go-mod go-mod-update-modules systemd useradd bash-completion

export GOFLAGS = "-modcacherw"
export GOPROXY = "off"
export GOTOOLCHAIN = "local"

# The Makefile builds and installs, and takes GO, GOOS, GOARCH and GOARM from
# go.bbclass. Without cgo the programs link to no library.
EXTRA_OEMAKE = "VERSION=${PV} PREFIX=${prefix} BIN=${B}/programs"

do_compile() {
	rm -rf ${B}/image
	oe_runmake -C ${B}/src/${GO_IMPORT} install DESTDIR=${B}/image
}

do_install() {
	cp -R --no-dereference --preserve=mode ${B}/image/. ${D}
	rm -rf ${D}${datadir}/zsh ${D}${datadir}/fish
}

# The units that can be enabled, except ipmbd-vm@.socket, which needs an instance for
# each machine.
SYSTEMD_SERVICE:${PN} = "ipmbd.service ipmbd.socket"

USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "-r ipmbd; -r ipmbd-vm"

FILES:${PN} += " \
    ${systemd_system_unitdir} \
    ${nonarch_libdir}/sysusers.d \
    ${nonarch_libdir}/tmpfiles.d \
    ${nonarch_libdir}/udev/rules.d \
    ${datadir}/dbus-1 \
    ${datadir}/ipmbbridge \
"

# make install strips them.
INSANE_SKIP:${PN} += "already-stripped"

# ipmbbridge owns the same name on D-Bus.
RPROVIDES:${PN} += "phosphor-ipmi-ipmb"
RREPLACES:${PN} += "phosphor-ipmi-ipmb"
RCONFLICTS:${PN} += "phosphor-ipmi-ipmb"
