module github.com/isolation-stack/labctl/images/pause

go 1.26.0
