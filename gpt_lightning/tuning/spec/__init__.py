"""What a sweep file says, checked key by key: parameters, method, metric, budget, launcher."""
