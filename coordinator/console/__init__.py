"""The pages: what people look at and click. No rules. Imports api, timeline, config and below."""
