"""emqlang"""
