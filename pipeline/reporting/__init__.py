"""What the report is made of: artefacts read again, tables, figures, pages. No stage but `report` needs any of it."""
