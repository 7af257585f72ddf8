// Package xml holds the D-Bus introspection documents of ipmbd, one file per
// interface. They are the source of truth of its D-Bus API: change the
// document first, then the code; a test of package dbusapi compares the two.
//
// Format: D-Bus specification, "Introspection Data Format".
package xml

import (
	"embed"
	"encoding/xml"
	"fmt"
	"strings"
)

//go:embed *.xml
var documents embed.FS

// Interface describes the interface of a document.
type Interface struct {
	Name       string     `xml:"name,attr"`
	Methods    []Member   `xml:"method"`
	Signals    []Member   `xml:"signal"`
	Properties []Property `xml:"property"`
}

// Member is a method or a signal.
type Member struct {
	Name string `xml:"name,attr"`
	Args []Arg  `xml:"arg"`
}

// Arg is one argument. Direction is "in", "out" or, of a signal, empty.
type Arg struct {
	Name      string `xml:"name,attr"`
	Type      string `xml:"type,attr"`
	Direction string `xml:"direction,attr"`
}

// Property is a property. Access is "read", "write" or "readwrite".
type Property struct {
	Name        string       `xml:"name,attr"`
	Type        string       `xml:"type,attr"`
	Access      string       `xml:"access,attr"`
	Annotations []Annotation `xml:"annotation"`
}

// Annotation is a name and its value.
type Annotation struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

// Signature is the types of the arguments of one direction, put together.
func (m Member) Signature(direction string) string {
	var b strings.Builder
	for _, arg := range m.Args {
		if arg.Direction == direction {
			b.WriteString(arg.Type)
		}
	}
	return b.String()
}

// EmitsChange reports whether a signal announces changes of the property.
func (p Property) EmitsChange() bool {
	for _, a := range p.Annotations {
		if a.Name == "org.freedesktop.DBus.Property.EmitsChangedSignal" {
			return a.Value == "true"
		}
	}
	return true
}

// Names are the names of all interfaces, sorted.
func Names() []string {
	entries, err := documents.ReadDir(".")
	if err != nil {
		panic(err) // The directory is in the binary.
	}
	var names []string
	for _, entry := range entries {
		names = append(names, strings.TrimSuffix(entry.Name(), ".xml"))
	}
	return names
}

// Load parses the document of an interface.
func Load(name string) (Interface, error) {
	text, err := read(name)
	if err != nil {
		return Interface{}, err
	}
	interfaces, err := Parse(text)
	if err != nil {
		return Interface{}, fmt.Errorf("introspection of %s: %w", name, err)
	}
	if len(interfaces) != 1 || interfaces[0].Name != name {
		return Interface{}, fmt.Errorf("introspection of %s: the document has another interface", name)
	}
	return interfaces[0], nil
}

// Parse reads the interfaces of any introspection document. An argument of a
// method without a direction is "in".
func Parse(text string) ([]Interface, error) {
	var node struct {
		Interfaces []Interface `xml:"interface"`
	}
	if err := xml.Unmarshal([]byte(text), &node); err != nil {
		return nil, err
	}
	for _, i := range node.Interfaces {
		for _, m := range i.Methods {
			for n := range m.Args {
				if m.Args[n].Direction == "" {
					m.Args[n].Direction = "in"
				}
			}
		}
	}
	return node.Interfaces, nil
}

// doctype begins every introspection document on the wire.
const doctype = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
`

// Node is the introspection document of an object that has these interfaces
// and these children, given by the last parts of their paths.
func Node(interfaces, children []string) (string, error) {
	var b strings.Builder
	b.WriteString(doctype)
	b.WriteString("<node>\n")
	for _, name := range interfaces {
		text, err := read(name)
		if err != nil {
			return "", err
		}
		text = strings.TrimPrefix(text, "<node>\n")
		b.WriteString(strings.TrimSuffix(text, "</node>\n"))
	}
	for _, child := range children {
		fmt.Fprintf(&b, "  <node name=%q/>\n", child)
	}
	b.WriteString("</node>\n")
	return b.String(), nil
}

func read(name string) (string, error) {
	text, err := documents.ReadFile(name + ".xml")
	if err != nil {
		return "", fmt.Errorf("no introspection of %s: %w", name, err)
	}
	return string(text), nil
}
