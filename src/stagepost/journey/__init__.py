"""The journey language: a definition file, its compiled form, and the one step that moves a contact. Pure."""
