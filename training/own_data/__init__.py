"""A group's own cohort: a table of visits, read and checked as the service reads and checks them."""
