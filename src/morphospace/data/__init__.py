"""From files, arrays or drawings to `Images`."""
