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
#   ${datadir}/ipmbbridge, in a .bbappend. packaging/yocto/machine has one, which also
#   checks the file with ipmbd-native. Without a file ipmbd serves each IPMB device.
# - Packages that need ipmbbridge get ipmbd if the distribution or the machine says so:
#   PREFERRED_RPROVIDER_phosphor-ipmi-ipmb = "ipmbd"

SUMMARY = "IPMI messages on D-Bus"
DESCRIPTION = "The IPMI service of a BMC: IPMB buses and the interfaces to hosts, on D-Bus"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://src/${GO_IMPORT}/LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

IPMBD_SRC_URI ??= "git://git.example.org/ipmbd.git;protocol=https;branch=main"
SRC_URI = "${IPMBD_SRC_URI};destsuffix=${GO_SRCURI_DESTSUFFIX}"
SRCREV ?= "${AUTOREV}"
PV = "0.1.0+git"

GO_IMPORT = "ipmbd"

require ${BPN}-go-mods.inc
require ${BPN}-licenses.inc

inherit go-mod go-mod-update-modules systemd useradd bash-completion

export GOFLAGS = "-modcacherw"
export GOPROXY = "off"
export GOTOOLCHAIN = "local"

# ipmbd --version says which commit it is.
GO_EXTRA_LDFLAGS = "-X main.version=${PV}-${@d.getVar('SRCREV')[:12]}"

# go.bbclass makes a position-independent executable, for which Go needs the C compiler
# on 32-bit ARM. It must be static: the sandbox of ipmbd.service lets neither a dynamic
# loader nor a library be executed. The tags keep the resolver of the C library out.
GOBUILDFLAGS:append = " -tags=netgo,osusergo"
GO_LINKMODE:class-target = "-linkmode=external"
GO_EXTLDFLAGS:append:class-target = " -static-pie"
GO_LINUXLOADER:class-target = ""

EXTRA_OEMAKE = "PREFIX=${prefix} BIN=${B}/programs"

do_compile() {
	cd ${B}/src/${GO_IMPORT}
	${GO} build ${GOBUILDFLAGS} -o ${B}/programs/ ./cmd/ipmbd ./cmd/ipmbctl
}

# The build host runs ipmbctl for the completions of the shells.
do_compile:append:class-target() {
	oe_runmake -C ${B}/src/${GO_IMPORT} completions
}

do_install() {
	oe_runmake -C ${B}/src/${GO_IMPORT} install-files DESTDIR=${D}
	rm -rf ${D}${datadir}/zsh ${D}${datadir}/fish
}

# An image build checks configurations with ipmbd-native.
do_install:class-native() {
	install -D -m 755 -t ${D}${bindir} ${B}/programs/ipmbd
}
BBCLASSEXTEND = "native"

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

# ipmbbridge owns the same name on D-Bus.
RPROVIDES:${PN} += "phosphor-ipmi-ipmb"
RREPLACES:${PN} += "phosphor-ipmi-ipmb"
RCONFLICTS:${PN} += "phosphor-ipmi-ipmb"
