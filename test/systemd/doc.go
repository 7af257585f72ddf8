// Package systemd tests ipmbd as a service: a real systemd runs the files that make install
// installs, with a real system bus, in a lab that a test has to itself.
//
// A lab is a systemd as process 1 of namespaces and a control group of its own.
// Its /usr, /etc and /var are those of the machine, under layers that are thrown
// away; its /run, /tmp and /dev are new; nothing of the machine can be written.
// None of the machine's services run there except the message bus and the journal. A test stands
// outside: it runs programs inside, and is the client, the controller on the bus or the virtual
// machine at the far end of the sockets.
//
// A test is a story of an administrator or a client that uses the service. It prints how long the
// steps took for which these wait; it never fails because of that.
package systemd
