package signal_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

type (
	openAPI struct {
		Servers    []struct{ URL string }
		Paths      map[string]map[string]yaml.Node
		Components struct {
			Schemas   map[string]schema
			Responses map[string]yaml.Node
		}
	}
	schema struct {
		Type       string
		Properties map[string]property
	}
	property struct {
		Type   string
		Format string
		Ref    string `yaml:"$ref"`
		Items  *property
	}
)

const schemas = "#/components/schemas/"

// TestOpenAPI holds docs/openapi.yaml to the routes that are served and to the messages they speak.
func TestOpenAPI(t *testing.T) {
	var doc openAPI
	if err := yaml.Unmarshal(must(os.ReadFile("../docs/openapi.yaml")), &doc); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	served := w.server.Routes()
	var described []string
	for path, item := range doc.Paths {
		for method := range item {
			if method == "parameters" {
				continue
			}
			path := strings.NewReplacer("{", ":", "}", "").Replace(path)
			described = append(described, strings.ToUpper(method)+" "+doc.Servers[0].URL+path)
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("served:\n%s\ndescribed:\n%s", strings.Join(served, "\n"), strings.Join(described, "\n"))
	}
	for name, s := range doc.Components.Schemas {
		checkSchema(t, name, s)
	}
	checkRefs(t, doc)
}

// checkSchema compares a schema with the message of its name, field by field, as protobuf JSON has them.
func checkSchema(t *testing.T, name string, s schema) {
	t.Helper()
	m, err := protoregistry.GlobalTypes.FindMessageByName(pb.File_parley_v1_rest_proto.Package().Append(protoreflect.Name(name)))
	if err != nil {
		t.Errorf("schema %s is of no message", name)
		return
	}
	fields := m.Descriptor().Fields()
	if s.Type != "object" || len(s.Properties) != fields.Len() {
		t.Errorf("schema %s has %d properties, its message has %d fields", name, len(s.Properties), fields.Len())
	}
	for i := range fields.Len() {
		f := fields.Get(i)
		got := s.Properties[f.JSONName()]
		if f.IsList() {
			if got.Type != "array" || got.Items == nil {
				t.Errorf("%s.%s is not an array", name, f.JSONName())
				continue
			}
			got = *got.Items
		}
		if want := propertyOf(f); got != want {
			t.Errorf("%s.%s is %v, want %v", name, f.JSONName(), got, want)
		}
	}
}

func propertyOf(f protoreflect.FieldDescriptor) property {
	if m := f.Message(); m != nil {
		return property{Ref: schemas + string(m.Name())}
	}
	return map[protoreflect.Kind]property{
		protoreflect.StringKind: {Type: "string"},
		protoreflect.BytesKind:  {Type: "string", Format: "byte"},
		protoreflect.Uint64Kind: {Type: "string", Format: "uint64"},
		protoreflect.Uint32Kind: {Type: "integer", Format: "uint32"},
		protoreflect.BoolKind:   {Type: "boolean"},
	}[f.Kind()]
}

// checkRefs says whether everything that is referred to is there, and everything there is referred to.
func checkRefs(t *testing.T, doc openAPI) {
	t.Helper()
	text := string(must(os.ReadFile("../docs/openapi.yaml")))
	for name := range doc.Components.Schemas {
		if !strings.Contains(text, schemas+name+"\"") && !strings.Contains(text, schemas+name+"'") {
			t.Errorf("nothing refers to schema %s", name)
		}
	}
	for _, rest := range strings.Split(text, "#/components/")[1:] {
		kind, name, _ := strings.Cut(rest[:strings.IndexAny(rest, "'\"")], "/")
		_, isSchema := doc.Components.Schemas[name]
		_, isResponse := doc.Components.Responses[name]
		if kind == "schemas" && !isSchema || kind == "responses" && !isResponse {
			t.Errorf("%s/%s is not there", kind, name)
		}
	}
}
