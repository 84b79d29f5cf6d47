"""GPT Math Domains: equations, stacked GPT-2 training, metrics and figures of one study."""
