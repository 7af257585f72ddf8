package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ipmbd/internal/manual"
)

// The manual page of the configuration holds the text of the documents.
func TestConfigurationPage(t *testing.T) {
	page := manual.New("ipmbd.json", 5, "configuration of ipmbd")
	for _, document := range []struct{ path, title string }{
		{"../docs/configuration.md", "Description"},
		{"../docs/requests.md", "Which handler serves a request"},
	} {
		text, err := os.ReadFile(document.path)
		if err != nil {
			t.Fatal(err)
		}
		page.Document(document.title, string(text))
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
