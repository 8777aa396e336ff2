"""Many runs of one config that differ in a few fields: started, restarted, and summed up in a table and a plot."""
