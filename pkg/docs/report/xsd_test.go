package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// xsd is a schema of XML Schema 1.0 with as much as Jenkins' schema of JUnit
// uses: global elements that are xs:string, or of a complex type with a
// sequence of references, and attributes that are xs:string. Reading one that
// uses more is an error.
type xsd struct {
	XMLName  xml.Name     `xml:"http://www.w3.org/2001/XMLSchema schema"`
	Elements []xsdElement `xml:"element"`
}

type xsdElement struct {
	Name  string      `xml:"name,attr"`
	Type  string      `xml:"type,attr"`
	Other []xml.Attr  `xml:",any,attr"`
	Any   []anyNode   `xml:",any"`
	Of    *xsdComplex `xml:"complexType"`
}

type xsdComplex struct {
	Mixed    bool       `xml:"mixed,attr"`
	Other    []xml.Attr `xml:",any,attr"`
	Any      []anyNode  `xml:",any"`
	Sequence struct {
		Any      []anyNode  `xml:",any"`
		Other    []xml.Attr `xml:",any,attr"`
		Elements []struct {
			Ref   string     `xml:"ref,attr"`
			Min   string     `xml:"minOccurs,attr"`
			Max   string     `xml:"maxOccurs,attr"`
			Other []xml.Attr `xml:",any,attr"`
		} `xml:"element"`
	} `xml:"sequence"`
	Attributes []struct {
		Name string `xml:"name,attr"`
		Type string `xml:"type,attr"`
		Use  string `xml:"use,attr"`
	} `xml:"attribute"`
}

// anyNode is an element of a document, or one of a schema that isn't known here.
type anyNode struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []anyNode  `xml:",any"`
}

func readXSD(path string) (*xsd, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &xsd{}
	if err := xml.Unmarshal(b, s); err != nil {
		return nil, err
	}
	for _, e := range s.Elements {
		c := e.Of
		simple := e.Type == "xs:string" && c == nil
		if len(e.Other) > 0 || len(e.Any) > 0 || (!simple && (c == nil || len(c.Other) > 0 || len(c.Any) > 0 || len(c.Sequence.Any) > 0 || len(c.Sequence.Other) > 0)) {
			return nil, fmt.Errorf("%s: element %s uses what this test doesn't know", path, e.Name)
		}
		if simple {
			continue
		}
		for _, r := range c.Sequence.Elements {
			if len(r.Other) > 0 || s.element(r.Ref) == nil || !slices.Contains([]string{"", "0", "1"}, r.Min) || !slices.Contains([]string{"", "1", "unbounded"}, r.Max) {
				return nil, fmt.Errorf("%s: a part of %s uses what this test doesn't know: %+v", path, e.Name, r)
			}
		}
		for _, a := range c.Attributes {
			if a.Type != "xs:string" {
				return nil, fmt.Errorf("%s: %s has an attribute of type %s", path, e.Name, a.Type)
			}
		}
	}
	return s, nil
}

func (s *xsd) element(name string) *xsdElement {
	i := slices.IndexFunc(s.Elements, func(e xsdElement) bool { return e.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Elements[i]
}

func (s *xsd) validate(b []byte) error {
	var root anyNode
	d := xml.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&root); err != nil {
		return err
	}
	if _, err := d.Token(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return s.node(root)
}

func (s *xsd) node(n anyNode) error {
	name := n.XMLName.Local
	e := s.element(name)
	if e == nil || n.XMLName.Space != "" {
		return fmt.Errorf("there is no element %s", name)
	}
	c := e.Of
	if c == nil {
		c = &xsdComplex{Mixed: true}
	}
	if !c.Mixed && strings.TrimSpace(n.Text) != "" {
		return fmt.Errorf("%s has text: %q", name, n.Text)
	}
	has := map[string]bool{}
	for _, a := range n.Attrs {
		has[a.Name.Local] = true
		if !slices.ContainsFunc(c.Attributes, func(x struct {
			Name string `xml:"name,attr"`
			Type string `xml:"type,attr"`
			Use  string `xml:"use,attr"`
		}) bool {
			return x.Name == a.Name.Local && a.Name.Space == ""
		}) {
			return fmt.Errorf("%s has no attribute %s", name, a.Name.Local)
		}
	}
	for _, a := range c.Attributes {
		if a.Use == "required" && !has[a.Name] {
			return fmt.Errorf("%s needs the attribute %s", name, a.Name)
		}
	}
	rest := n.Children
	for _, part := range c.Sequence.Elements {
		count := 0
		for len(rest) > 0 && rest[0].XMLName.Local == part.Ref && (count == 0 || part.Max == "unbounded") {
			if err := s.node(rest[0]); err != nil {
				return err
			}
			rest, count = rest[1:], count+1
		}
		if count == 0 && part.Min != "0" {
			return fmt.Errorf("%s needs %s", name, part.Ref)
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("%s can't have %s there", name, rest[0].XMLName.Local)
	}
	return nil
}
