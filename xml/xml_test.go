package xml

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

func TestDocumentsNameTheirOwnInterface(t *testing.T) {
	names := Names()
	if len(names) != 12 {
		t.Errorf("interfaces = %v", names)
	}
	for _, name := range names {
		if _, err := Load(name); err != nil {
			t.Error(err)
		}
	}
}

func TestDocumentsAreComplete(t *testing.T) {
	for _, name := range Names() {
		i, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range i.Methods {
			checkArgs(t, name, m, "in", "out")
		}
		for _, s := range i.Signals {
			checkArgs(t, name, s, "")
		}
		for _, p := range i.Properties {
			checkType(t, name+"."+p.Name, p.Type)
			if p.Access != "read" && p.Access != "readwrite" {
				t.Errorf("%s.%s: access %q", name, p.Name, p.Access)
			}
		}
	}
}

func checkArgs(t *testing.T, name string, m Member, directions ...string) {
	t.Helper()
	for _, arg := range m.Args {
		if arg.Name == "" {
			t.Errorf("%s.%s: an argument has no name", name, m.Name)
		}
		if !strings.Contains("|"+strings.Join(directions, "|")+"|", "|"+arg.Direction+"|") {
			t.Errorf("%s.%s: %s has direction %q", name, m.Name, arg.Name, arg.Direction)
		}
		checkType(t, name+"."+m.Name+"."+arg.Name, arg.Type)
	}
}

func checkType(t *testing.T, what, signature string) {
	t.Helper()
	if s, err := dbus.ParseSignature(signature); err != nil || s.Empty() {
		t.Errorf("%s: type %q: %v", what, signature, err)
	}
}

func TestNodeIsADocumentOfAllItsParts(t *testing.T) {
	text, err := Node(Names(), []string{"bus1", "bus2"})
	if err != nil {
		t.Fatal(err)
	}
	var node struct {
		Interfaces []Interface `xml:"interface"`
		Nodes      []struct {
			Name string `xml:"name,attr"`
		} `xml:"node"`
	}
	if err := xml.Unmarshal([]byte(text), &node); err != nil {
		t.Fatal(err)
	}
	if len(node.Interfaces) != len(Names()) || len(node.Nodes) != 2 || node.Nodes[1].Name != "bus2" {
		t.Errorf("node = %+v", node)
	}
}

func TestUnknownInterface(t *testing.T) {
	if _, err := Load("no.such"); err == nil {
		t.Error("Load found it")
	}
	if _, err := Node([]string{"no.such"}, nil); err == nil {
		t.Error("Node found it")
	}
}

func TestDocumentOfAnotherProgram(t *testing.T) {
	interfaces, err := Parse(`<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN" "a.dtd">
<node><interface name="a.b"><method name="C"><arg type="s"/><arg type="o" direction="in"/><arg type="q" direction="out"/></method></interface>
<interface name="a.c"/><node name="child"/></node>`)
	if err != nil || len(interfaces) != 2 {
		t.Fatal(interfaces, err)
	}
	m := interfaces[0].Methods[0]
	if in, out := m.Signature("in"), m.Signature("out"); in != "so" || out != "q" {
		t.Errorf("%s takes %q and returns %q", m.Name, in, out)
	}
	if _, err := Parse("<node><interface>"); err == nil {
		t.Error("half a document was read")
	}
}
