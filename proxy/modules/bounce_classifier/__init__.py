"""bounce_classifier: a site's own rules for `ec_bounce_classify`, which works without it, too."""
