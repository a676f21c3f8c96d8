"""The announcing of a SITE: an IPNS record, in the SITE and at servers that machines ask."""
