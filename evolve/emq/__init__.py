"""The paper's search, part by part."""
