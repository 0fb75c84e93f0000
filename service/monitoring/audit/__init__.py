"""The audit trail of PS3.15 A.5: who was given access to whose images; to a file and to syslog. Holds patient data."""
