package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ipmbd/internal/manual"
)

// The manual page of the configuration is what the README says of it.
func TestConfigurationPage(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := manual.Sections(string(readme))
	page := manual.New("ipmbd.json", 5, "configuration of ipmbd")
	for _, section := range []struct{ heading, title string }{
		{"Configuration", "Description"},
		{"Who answers a request", "Who answers a request"},
		{"The BMC of a virtual machine", "The BMC of a virtual machine"},
		{"The built-in BMC", "The built-in BMC"},
	} {
		text, ok := sections[section.heading]
		if !ok {
			t.Errorf("the README has no section %q", section.heading)
		}
		page.Section(section.title)
		page.Markdown(text)
	}
	page.Section("See also")
	page.Paragraph("`ipmbd`(8), `ipmbctl`(1)")
	manual.Stored(t, "man/ipmbd.json.5", page.String())
}

func TestPagesAreWithoutWarnings(t *testing.T) {
	pages, err := filepath.Glob("man/*.[158]")
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages", err)
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("not run: ", err)
	}
	for _, page := range pages {
		said, err := exec.Command(groff, "-man", "-ww", "-z", "-Tutf8", "-Kutf8", page).CombinedOutput()
		if err != nil || len(said) > 0 {
			t.Errorf("%s: %v\n%s", page, err, said)
		}
	}
}
