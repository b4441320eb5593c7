"""The page that people open: HTML over the same state that the verbs show. Source: specs/service.md §9."""
